"""Mixed traffic while things are killed: callers who send through the API and repeat what they got no answer
to, and somebody who writes to our accounts; and what came of it all."""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import httpx
from crash.books import Books, Found, Report, Written, judge, missing
from hook import Hook
from loopback.server import LoopbackServer
from running import Account, until

THEIRS = "628222000222"
SENDERS = 4
SEND_EVERY_S, WRITE_EVERY_S = 0.04, 0.05
ANSWERED_LATER = {503, 507}
ANSWERED_WITHIN_S = 60.0
COME_WITHIN_S, READ_WITHIN_S, SENT_WITHIN_S, TOLD_WITHIN_S = 60.0, 15.0, 120.0, 60.0


class Traffic:
    """Threads that send on every device (`devices`: account number → device id) and write to each of them,
    until `stop`."""

    def __init__(
        self,
        net: LoopbackServer,
        account: Account,
        devices: dict[str, str],
        books: Books,
        send_every_s: float = SEND_EVERY_S,
    ) -> None:
        self._net = net
        self._account = account
        self._devices = devices
        self._books = books
        self._send_every_s = send_every_s
        self._ending = threading.Event()
        self._ended_at: float | None = None
        work: list[Callable[[], None]] = [lambda n=n: self._send_on(n) for n in range(SENDERS)]  # type: ignore[misc]
        self._threads = [threading.Thread(target=self._kept(each)) for each in (*work, self._write_on)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns when every request that was begun has its answer."""
        self._ended_at = time.monotonic()
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
        device_ids = list(self._devices.values())
        with httpx.Client(base_url=self._account.url, timeout=30) as client:
            client.headers["X-API-Key"] = self._account.key
            n = 0
            sent: str | None = None
            while not self._ending.wait(self._send_every_s):
                n += 1
                wish = {
                    "deviceId": device_ids[sender % len(device_ids)],
                    "to": THEIRS,
                    "text": f"out {sender} {n}",
                }
                if sent is not None and n % 2 == 0:
                    wish["replyTo"] = sent
                for _ in range(2 if n % 5 == 0 else 1):  # some callers ask twice, whatever they were told
                    sent = self._send(client, wish, to_wait=sender % 3 != 0) or sent

    def _send(self, client: httpx.Client, wish: dict[str, str], *, to_wait: bool) -> str | None:
        """Ask until there is an answer, as an integrator does who keeps the key; the message's id if it is
        sent by then. Raises TransportError when the gateway stays away although the end has come."""
        text = wish["text"]
        prefer = "wait=2" if to_wait else "respond-async"
        headers = {"Idempotency-Key": text.replace(" ", "-"), "Prefer": prefer}
        while True:
            try:
                answer = client.post("/messages/send-text", json=wish, headers=headers)
            except httpx.TransportError:
                if self._is_overdue():
                    raise
                time.sleep(0.02)
                continue
            if answer.status_code in {201, 202}:
                message_id = str(answer.json()["id"])
                self._books.answered[text].add(message_id)
                self._books.replays += "idempotent-replayed" in answer.headers
                self._books.replies += "replyTo" in wish
                return message_id if answer.status_code == 201 else None
            if answer.status_code not in ANSWERED_LATER:
                self._books.faults.append(f"{text}: {answer.status_code} {answer.text}")
                return None
            time.sleep(0.02)

    def _is_overdue(self) -> bool:
        return self._ended_at is not None and time.monotonic() > self._ended_at + ANSWERED_WITHIN_S

    def _write_on(self) -> None:
        numbers = list(self._devices)
        n = 0
        while not self._ending.wait(WRITE_EVERY_S):
            n += 1
            write(self._net, self._books, numbers[n % len(numbers)], f"in {n}")


def write(net: LoopbackServer, books: Books, number: str, text: str) -> None:
    """Somebody writes to one of our accounts. A worker may have it in hand before `send_text` returns."""
    at = time.monotonic()
    wa_id = net.on_phone(THEIRS, lambda phone: phone.send_text(number, text))
    books.written[text] = Written(wa_id, number, at)


def compare(
    net: LoopbackServer, account: Account, hook: Hook, books: Books, numbers: Sequence[str]
) -> Report:
    """Let everything come to rest, then judge it. `numbers` are our accounts."""
    ours = _settled(account)
    came = _come(net, account, books, numbers)
    committed = {event["data"]["eventId"] for event in events(account)}
    with contextlib.suppress(AssertionError):
        until("delivery of every event", lambda: committed <= hook.event_ids(), TOLD_WITHIN_S)
    inbox: dict[str, set[str]] = defaultdict(set)
    for message in list(net.phones[THEIRS].inbox):
        inbox[message.text].add(message.id)
    accepted = {wa_id for number in numbers for wa_id in net.ledger.ids(number)}
    taken = dict(net.ledger.taken)
    return judge(books, Found(ours, came, committed, hook.event_ids(), inbox, accepted, taken))


def events(account: Account, after: int = 0) -> list[Any]:
    """Every event that was committed after that number, oldest first."""
    found: list[Any] = []
    cursor = str(after)
    while True:
        query = {"after": cursor, "limit": "200"}
        page = account.ok("GET", "/events", params=query, headers={"Accept": "application/json"})
        if not page["items"]:
            return found
        found += page["items"]
        cursor = page["nextCursor"]


def _pages(account: Account, path: str, **query: Any) -> list[Any]:
    items: list[Any] = []
    cursor = ""
    while True:
        page = account.ok("GET", path, params={"limit": 200, "cursor": cursor, **query})
        items += page["items"]
        cursor = page["nextCursor"]
        if not cursor:
            return items


def _settled(account: Account) -> list[Any]:
    """Our messages, once none of them waits any more."""

    def check() -> list[Any] | None:
        waiting = [
            account.ok("GET", "/messages", params={"status": s})["items"] for s in ("queued", "sending")
        ]
        return None if any(waiting) else _pages(account, "/messages", fromMe="true")

    found: list[Any] = until("end of every send", check, SENT_WITHIN_S)
    return found


def _come(net: LoopbackServer, account: Account, books: Books, numbers: Sequence[str]) -> dict[str, str]:
    """What came in, once WhatsApp has nothing left for us and what can be asked for again has been."""
    came: dict[str, str] = {}

    def is_all_here() -> bool:
        came.update({m["messageId"]: m["type"] for m in _pages(account, "/messages", fromMe="false")})
        lost, _ = missing(books, came)
        at_rest = not any(net.backlog(number) for number in numbers)
        return at_rest and all(books.excused(text, net.ledger.taken) for text in lost)

    with contextlib.suppress(AssertionError):
        until("everything that was written to us", is_all_here, COME_WITHIN_S)
        until("its decryption", lambda: is_all_here() and not missing(books, came)[1], READ_WITHIN_S)
    return came
