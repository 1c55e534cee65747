"""R1: SIGKILL in mixed traffic on the real engine, again and again, then the books are compared.

python tests/crash/kill_loop.py [cycles, default 200] [seed]
"""

import contextlib
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hook import Hook, receiving
from loopback.server import LoopbackServer
from road import link_by_qr
from running import Account, Running, until

OURS, THEIRS = "628111000111", "628222000222"
SENDERS = 3
SEND_EVERY_S, WRITE_EVERY_S = 0.03, 0.05
TRAFFIC_S = (0.2, 1.2)
ENDED = {"sent", "delivered", "read", "failed", "unconfirmed"}
ANSWERED_LATER = {503, 507}
# What the library has taken from WhatsApp and a worker that is killed has not yet told is lost with it.
LOST_WITHIN_S = 2.0
SETTLE_S = 15.0


class Kill(msgspec.Struct):
    """One SIGKILL: of the whole group, or of the main process alone. `ready_s` from the kill to /readyz."""

    group: bool
    at: float
    ready_s: float = 0.0


class Books(msgspec.Struct):
    """What the outside world knows. Outgoing texts are their own Idempotency-Key; `written` holds when each
    text was written to us, `ids` WhatsApp's id of it."""

    answered: dict[str, set[str]] = msgspec.field(default_factory=lambda: defaultdict(set))
    replays: int = 0
    written: dict[str, float] = msgspec.field(default_factory=dict)
    ids: dict[str, str] = msgspec.field(default_factory=dict)
    kills: list[Kill] = msgspec.field(default_factory=list)
    faults: list[str] = msgspec.field(default_factory=list)


class Report(msgspec.Struct):
    """`faults` are broken promises. `lost` incoming texts went down with a killed worker; `unread` ones were
    told as undecryptable, for with a worker the library's newest encryption keys may go too."""

    books: Books
    statuses: dict[str, int]
    events: int
    deliveries: int
    lost: int
    unread: int
    faults: list[str]

    def lines(self) -> list[str]:
        ready = [kill.ready_s for kill in self.books.kills]
        groups = sum(kill.group for kill in self.books.kills)
        return [
            f"kills: {len(ready)} ({groups} of the whole group), ready again after "
            f"{statistics.median(ready):.2f} s (longest {max(ready):.2f} s)",
            f"accepted: {len(self.books.answered)}, ended: {self.statuses}, replays: {self.books.replays}",
            f"written to us: {len(self.books.written)}, lost with a worker: {self.lost}, "
            f"undecryptable: {self.unread}",
            f"events: {self.events}, deliveries: {self.deliveries}",
            *(f"FAULT {fault}" for fault in self.faults),
        ]


class Traffic:
    """Threads that send through the API and write from the phone until `stop`."""

    def __init__(self, net: LoopbackServer, account: Account, device_id: str, books: Books) -> None:
        self._net = net
        self._account = account
        self._device_id = device_id
        self._books = books
        self._ending = threading.Event()
        work: list[Callable[[], None]] = [lambda n=n: self._send_on(n) for n in range(SENDERS)]  # type: ignore[misc]
        self._threads = [threading.Thread(target=self._kept(each)) for each in (*work, self._write_on)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns when every request that was begun has its answer."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _kept(self, work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001
                self._books.faults.append(f"traffic broke: {error!r}")

        return run

    def _send_on(self, sender: int) -> None:
        with httpx.Client(base_url=self._account.url, timeout=30) as client:
            client.headers["X-API-Key"] = self._account.key
            n = 0
            while not self._ending.wait(SEND_EVERY_S):
                n += 1
                prefer = "wait=2" if sender else "respond-async"
                for _ in range(2 if n % 5 == 0 else 1):  # some callers ask twice, whatever they were told
                    self._send(client, f"out {sender} {n}", prefer)

    def _send(self, client: httpx.Client, text: str, prefer: str) -> None:
        """Ask until there is an answer, as an integrator does who keeps the key."""
        body = {"deviceId": self._device_id, "to": THEIRS, "text": text}
        headers = {"Idempotency-Key": text.replace(" ", "-"), "Prefer": prefer}
        while True:
            try:
                answer = client.post("/messages/send-text", json=body, headers=headers)
            except httpx.TransportError:
                time.sleep(0.02)
                continue
            if answer.status_code in {201, 202}:
                self._books.answered[text].add(answer.json()["id"])
                self._books.replays += "idempotent-replayed" in answer.headers
                return
            if answer.status_code not in ANSWERED_LATER:
                self._books.faults.append(f"{text}: {answer.status_code} {answer.text}")
                return
            time.sleep(0.02)

    def _write_on(self) -> None:
        n = 0
        while not self._ending.wait(WRITE_EVERY_S):
            n += 1
            text = f"in {n}"
            wa_id = self._net.on_phone(THEIRS, lambda phone, text=text: phone.send_text(OURS, text))  # type: ignore[misc]
            self._books.ids[text] = wa_id
            self._books.written[text] = time.monotonic()


def kill_on(gateway: Running, account: Account, device_id: str, books: Books, plan: list[bool]) -> None:
    """One kill after the other, each in the middle of traffic; `plan` says which are of the whole group."""
    chance = random.Random(len(plan))
    for group in plan:
        time.sleep(chance.uniform(*TRAFFIC_S))
        kill = Kill(group, time.monotonic())
        gateway.kill(group=group)
        gateway.start()
        kill.ready_s = time.monotonic() - kill.at
        books.kills.append(kill)
        if chance.random() < 0.7:  # sometimes the next kill comes while the session is being resumed
            account.connected(device_id)


def run(folder: Path, plan: list[bool]) -> Report:
    """The whole exercise; `plan` holds True for each kill of the whole group, False for main alone."""
    books = Books()
    with LoopbackServer(folder / "net") as net, receiving() as hook:
        for number, name in ((OURS, "Ours"), (THEIRS, "Theirs")):
            net.add_account(number, name)
        settings = {
            "engine.proxy": net.proxy_url,
            "webhooks.allow": ["loopback"],
            "limits.messages_per_minute": 0,
        }
        gateway = Running(folder / "data", settings=settings, environment=net.client_env()).start()
        try:
            account = gateway.account()
            account.ok("POST", "/webhooks", {"url": hook.url})
            device_id = link_by_qr(net, account, OURS)
            traffic = Traffic(net, account, device_id, books)
            try:
                kill_on(gateway, account, device_id, books, plan)
            finally:
                traffic.stop()
            account.connected(device_id)
            return compare(net, account, hook, books)
        finally:
            gateway.close()
            if gateway.process.poll() is None:
                gateway.stop()


def pages(account: Account, path: str, **query: Any) -> list[Any]:
    """Every item of a list."""
    items: list[Any] = []
    cursor = ""
    while True:
        page = account.ok("GET", path, params={"limit": 200, "cursor": cursor, **query})
        items += page["items"]
        cursor = page["nextCursor"]
        if not cursor:
            return items


def events(account: Account) -> set[int]:
    """The number of every event that was committed."""
    found: set[int] = set()
    after = "0"
    while True:
        query = {"after": after, "limit": "200"}
        page = account.ok("GET", "/events", params=query, headers={"Accept": "application/json"})
        if not page["items"]:
            return found
        found |= {event["data"]["eventId"] for event in page["items"]}
        after = page["nextCursor"]


def settled(account: Account) -> list[Any]:
    """Our messages, once none of them waits any more."""

    def check() -> list[Any] | None:
        waiting = [
            account.ok("GET", "/messages", params={"status": s})["items"] for s in ("queued", "sending")
        ]
        return None if any(waiting) else pages(account, "/messages", fromMe="true")

    found: list[Any] = until("end of every send", check, 60)
    return found


def compare(net: LoopbackServer, account: Account, hook: Hook, books: Books) -> Report:
    """Everything that was promised, against what came out."""
    faults = list(books.faults)
    ours = settled(account)
    numbers = events(account)
    try:
        until("delivery of every event", lambda: numbers <= hook.event_ids(), 30)
    except AssertionError:
        faults.append(f"{len(numbers - hook.event_ids())} committed events did not reach the webhook")
    faults += sends(ours, books) + doubles(net, ours)
    lost, unread = missing(net, account, books)
    faults += [f"{text!r} was lost {around(text, books)}" for text in lost if not excused(text, books)]
    if not any(kill.group for kill in books.kills):
        faults += [f"{text!r} was not decrypted {around(text, books)}" for text in unread]
    statuses: dict[str, int] = defaultdict(int)
    for message in ours:
        statuses[message["status"]] += 1
    return Report(books, dict(statuses), len(numbers), len(hook.posts), len(lost), len(unread), faults)


def sends(ours: list[Any], books: Books) -> list[str]:
    """Each accepted send is one message, with the id that was answered, and it has an end."""
    faults = []
    of_text: dict[str, list[Any]] = defaultdict(list)
    for message in ours:
        of_text[message["text"]].append(message)
        if message["status"] not in ENDED:
            faults.append(f"{message['text']!r} ended as {message['status']}")
    for text, ids in books.answered.items():
        stored = {message["id"] for message in of_text[text]}
        if stored != ids or len(ids) != 1:
            faults.append(f"{text!r} was answered as {ids}, stored as {stored}")
    return faults


def doubles(net: LoopbackServer, ours: list[Any]) -> list[str]:
    """No text reached WhatsApp under two ids; what is told as sent did reach it, what failed did not."""
    taken: dict[str, set[str]] = defaultdict(set)
    for message in list(net.phones[THEIRS].inbox):
        taken[message.text].add(message.id)
    faults = [f"{text!r} was sent {len(ids)} times" for text, ids in taken.items() if len(ids) > 1]
    accepted = set(net.ledger.ids(OURS))
    for message in ours:
        text, status = message["text"], message["status"]
        if status in {"sent", "delivered", "read"} and message["messageId"] not in accepted:
            faults.append(f"{text!r} is told as {status}, and WhatsApp has not got it")
        if status == "failed" and text in taken:
            faults.append(f"{text!r} is told as failed, and WhatsApp has got it")
    return faults


def missing(net: LoopbackServer, account: Account, books: Books) -> tuple[list[str], list[str]]:
    """The texts that did not come in, and those that came as undecryptable, once WhatsApp has nothing left
    for us and what can be asked for again has been."""
    lost: list[str] = []
    unread: list[str] = []

    def check() -> bool:
        came = {m["messageId"]: m["type"] for m in pages(account, "/messages", fromMe="false")}
        lost[:] = [text for text, wa_id in books.ids.items() if wa_id not in came]
        unread[:] = [text for text, wa_id in books.ids.items() if came.get(wa_id) == "undecryptable"]
        return net.backlog(OURS) == 0 and not unread and all(excused(text, books) for text in lost)

    with contextlib.suppress(AssertionError):
        until("everything that was written to us", check, SETTLE_S)
    return lost, unread


def excused(text: str, books: Books) -> bool:
    """Whether the text came in just before a worker was killed."""
    at = books.written[text]
    return any(kill.group and kill.at - LOST_WITHIN_S <= at <= kill.at + 0.5 for kill in books.kills)


def around(text: str, books: Books) -> str:
    """The kills near the moment when the text was written."""
    at = books.written[text]
    near = [kill for kill in books.kills if abs(kill.at - at) < 6]
    told = [f"{kill.at - at:+.2f} s {'all' if kill.group else 'main'}" for kill in near]
    return f"though no worker was killed then (kills: {', '.join(told)})"


def mixed(cycles: int, seed: int) -> list[bool]:
    """About half of the kills hit the whole group, in an order that the seed decides."""
    plan = [n % 2 == 0 for n in range(cycles)]
    random.Random(seed).shuffle(plan)
    return plan


def main(cycles: int, seed: int) -> int:
    with tempfile.TemporaryDirectory(prefix="kill-loop-") as folder:
        report = run(Path(folder), mixed(cycles, seed))
        print("\n".join(report.lines()))
        return 1 if report.faults else 0


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(given + [200, 1][len(given) :])))
