"""R8: a real gateway whose disk goes bad under it, clients that write down every answer, and the comparison
afterwards."""

import collections
import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from crash.fault_main import CONTROL, Badness
from hook import Hook
from patience import PATIENCE_S
from running import Account, Running, until

PROGRAM = (sys.executable, str(Path(__file__).with_name("fault_main.py")))
ECHO = "999000000010"
REFUSALS = {(507, "storage_full"), (503, "store_unavailable")}
RECOVERS_S = 30.0
SENDERS = 3
PAUSE_S = 0.05


class Answer(msgspec.Struct, frozen=True):
    """What one request got: `code` of a refusal, `message_id` of a success; `at` the monotonic time of its
    arrival."""

    text: str
    status: int
    code: str | None
    message_id: str | None
    at: float


class Books(msgspec.Struct):
    """Every answer of the gateway: to sends, and to what was written to the device."""

    sends: list[Answer] = []
    receives: list[Answer] = []
    broken: list[str] = []

    def between(self, begin: float, end: float) -> list[Answer]:
        """The answers of that time, which is monotonic."""
        return [a for a in (*self.sends, *self.receives) if begin <= a.at <= end]


class Switch:
    """Makes the disk bad and good again."""

    def __init__(self, control: Path) -> None:
        self._control = control

    @property
    def environment(self) -> dict[str, str]:
        return {CONTROL: str(self._control)}

    @contextmanager
    def bad(self, badness: Badness) -> Iterator[None]:
        """For the length of the block."""
        fresh = self._control.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(badness))
        fresh.replace(self._control)
        try:
            yield
        finally:
            self._control.unlink()


class Clients:
    """Threads that send and write to the device until `stop`; none repeats what was refused."""

    def __init__(self, account: Account, device_id: str, books: Books) -> None:
        self._account = account
        self._device_id = device_id
        self._books = books
        self._ending = threading.Event()
        self._numbers: collections.Counter[str] = collections.Counter()
        kinds = [*(f"out {n}" for n in range(SENDERS)), "in"]
        self._threads = [threading.Thread(target=self._go_on, args=(kind,)) for kind in kinds]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns when every request that was begun has its answer."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _go_on(self, kind: str) -> None:
        with httpx.Client(base_url=self._account.url, timeout=PATIENCE_S) as client:
            client.headers["X-API-Key"] = self._account.key
            while not self._ending.wait(PAUSE_S):
                self._numbers[kind] += 1
                text = f"{kind} {self._numbers[kind]}"
                with contextlib.suppress(httpx.TransportError):  # no answer, no promise
                    self._note(kind, text, self._ask(client, kind, text))

    def _ask(self, client: httpx.Client, kind: str, text: str) -> httpx.Response:
        if kind == "in":
            return client.post(f"/devices/{self._device_id}/sandbox/receive", json={"text": text})
        return send(client, self._device_id, text)

    def _note(self, kind: str, text: str, answer: httpx.Response) -> None:
        told: dict[str, Any] = answer.json()
        code, message_id = told.get("code"), told.get("id")
        entry = Answer(text, answer.status_code, code, message_id, time.monotonic())
        (self._books.receives if kind == "in" else self._books.sends).append(entry)
        if not answer.is_success and (answer.status_code, code) not in REFUSALS:
            self._books.broken.append(f"{text}: {answer.status_code} {code}")


def send(client: httpx.Client, device_id: str, text: str) -> httpx.Response:
    """Send the text, which is its own Idempotency-Key, to somebody who answers with the same text."""
    return client.post(
        "/messages/send-text",
        json={"deviceId": device_id, "to": ECHO, "text": text},
        headers={"Idempotency-Key": text.replace(" ", "-"), "Prefer": "respond-async"},
    )


def recovered(gateway: Running, account: Account, device_id: str, mark: str) -> float:
    """The seconds until a send is taken again; a gateway that ended with exit code 1 is started again, as
    systemd does."""
    began, tries = time.monotonic(), 0

    def taken() -> bool:
        nonlocal tries
        if gateway.process.poll() == 1:
            gateway.start()
        tries += 1
        with contextlib.suppress(httpx.TransportError):
            return send(account.http, device_id, f"mark {mark} {tries}").is_success
        return False

    until("send that is taken", taken, RECOVERS_S)
    return time.monotonic() - began


def repeat_refused(account: Account, device_id: str, books: Books) -> int:
    """Ask again, with the same key, for every send that was refused; returns how many there were."""
    refused = [answer for answer in books.sends if answer.message_id is None]
    for answer in refused:
        again = send(account.http, device_id, answer.text)
        assert again.is_success, again.text
        entry = Answer(answer.text, again.status_code, None, again.json()["id"], time.monotonic())
        books.sends.append(entry)
    return len(refused)


def faults(account: Account, books: Books, hook: Hook) -> list[str]:
    """What was promised and does not hold: every success is there, each key was sent once, every event was
    posted."""
    stored = account.every("/messages")
    ids = {message["id"] for message in stored} | {None}
    answers = (*books.sends, *books.receives)
    found = [
        *books.broken,
        *(f"answered {a.status} and lost: {a.text}" for a in answers if a.message_id not in ids),
    ]
    found += _twice("stored", (m["text"] for m in stored if m["fromMe"]))
    echoed = (m["text"] for m in stored if not m["fromMe"] and m["text"].startswith("out"))
    found += _twice("sent", echoed)
    # What was told to nobody because the answer failed may have been stored, but once.
    found += _twice(
        "received", (m["text"] for m in stored if not m["fromMe"] and m["text"].startswith("in "))
    )
    return found + [f"not posted: {no}" for no in _events(account) - hook.event_ids()]


def _events(account: Account) -> set[int]:
    """The number of every event."""
    numbers: set[int] = set()
    headers = {"Accept": "application/json"}
    while True:
        query = {"after": max(numbers, default=0), "limit": 200}
        page = account.ok("GET", "/events", params=query, headers=headers)
        if not page["items"]:
            return numbers
        numbers |= {event["data"]["eventId"] for event in page["items"]}


def _twice(what: str, texts: Iterable[str]) -> list[str]:
    counted = collections.Counter(texts)
    return [f"{what} {count} times: {text}" for text, count in counted.items() if count > 1]
