"""S8: a million messages in the store: how soon it starts, how long reads and sends take, and what sends
notice of retention.

python tests/bench/growth.py [messages]
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.filled import CHATS, fill, words
from bench.load import Load, request, run
from bench.startup import ready_s
from running import Account, Running, until

MESSAGES = 1_000_000
SETTINGS = {"limits.messages_per_minute": 0, "limits.queue_per_device": 10_000_000, "logs.level": "info"}
SECONDS, SWEEP_S = 3.0, 20.0
EVERY_S = 0.01
READ_LIMIT_MS, START_LIMIT_S, HOLD_LIMIT_MS = 25, 1.5, 100


class Filled:
    """A gateway with two accounts, eight devices and many messages, not running."""

    def __init__(self, folder: Path, many: int) -> None:
        self.gateway = Running(folder / "data", settings=SETTINGS)
        self.gateway.start()
        self.account, other = self.gateway.account(), self.gateway.account()
        self.devices = [self.account.device(f"d{n}") for n in range(6)]
        mine, theirs = _endpoint(self.account), _endpoint(other)
        places = [(device_id, mine) for device_id in self.devices]
        places += [(other.device(f"o{n}"), theirs) for n in range(2)]
        assert self.gateway.stop() == 0
        began = time.perf_counter()
        fill(self.database, places, int(time.time() * 1000), many)
        print(f"filled with {many} messages in {time.perf_counter() - began:.0f} s, ", end="")
        print(f"{self.database.stat().st_size / many:.0f} bytes of database each", flush=True)
        # Filling it counts as an unclean stop, after which the file is checked.
        self.gateway.start()
        assert self.gateway.stop() == 0

    @property
    def database(self) -> Path:
        return self.gateway.data / "gateway.db"


def _endpoint(account: Account) -> str:
    body = {"url": "https://receiver.example.test/", "events": ["message.received"]}
    return str(account.ok("POST", "/webhooks", body)["id"])


def questions(account: Account, devices: list[str]) -> dict[str, Callable[[int], bytes]]:
    """Requests by name; each makes the n-th one, with answers all over the store."""
    chance, known = random.Random(2), words(random.Random(1))
    headers = {"X-API-Key": account.key, "Content-Type": "application/json", "Prefer": "respond-async"}
    ids = [m["id"] for m in account.ok("GET", "/messages", params={"limit": 200})["items"]]

    def get(path: Callable[[], str]) -> Callable[[int], bytes]:
        return lambda _n: request(path(), b"", headers, "GET")

    def send(n: int) -> bytes:
        body = {"deviceId": devices[n % len(devices)], "to": "999000000001", "text": f"{known[n % 500]} {n}"}
        return request("/messages/send-text", msgspec.json.encode(body), headers)

    def chat() -> str:
        return f"62811{int(CHATS * chance.random() ** 3) | 1:08}"

    def month() -> str:
        at = int(time.time() * 1000) - chance.randrange(11) * 30 * 86_400_000
        return f"since={at - 86_400_000}&until={at}"

    return {
        "list": get(lambda: "/messages?limit=50"),
        "list a device": get(lambda: f"/messages?deviceId={chance.choice(devices)}"),
        "list the quietest device": get(lambda: f"/messages?deviceId={devices[-1]}&fromMe=true"),
        "list a chat": get(lambda: f"/messages?deviceId={devices[0]}&remoteJid={chat()}"),
        "list a chat everywhere": get(lambda: f"/messages?remoteJid={chat()}"),
        "list documents": get(lambda: "/messages?kind=document&fromMe=false"),
        "list a kind that is not there": get(lambda: "/messages?kind=sticker"),
        "list failed": get(lambda: "/messages?status=failed"),
        "list a day of last year": get(lambda: f"/messages?{month()}"),
        "list a member of groups": get(
            lambda: f"/messages?participant=62812{int(CHATS * chance.random()):08}"
        ),
        "search a usual word": get(lambda: f"/messages?q={known[chance.randrange(20)]}"),
        "search a rare word": get(lambda: f"/messages?q={known[chance.randrange(4000, 8000)]}"),
        "search two words": get(
            lambda: f"/messages?q={known[chance.randrange(50)]}+{known[chance.randrange(900)]}"
        ),
        "search a beginning": get(lambda: f"/messages?q={known[chance.randrange(900)][:4]}*"),
        "search three letters": get(lambda: f"/messages?q={chance.choice(('san', 'kan', 'sok', 'mel'))}*"),
        "search a phrase": get(
            lambda: f"/messages?q={quote(chr(34) + ' '.join(chance.choices(known[:40], k=2)) + chr(34))}"
        ),
        "search among documents": get(lambda: f"/messages?kind=document&q={known[chance.randrange(200)]}"),
        "get": get(lambda: f"/messages/{chance.choice(ids)}"),
        "get what is not there": get(lambda: "/messages/3EB0000000000000000000"),
        "send": send,
    }


def ask(port: int, make: Callable[[int], bytes], seconds: float = SECONDS) -> Load:
    return run(port, make, connections=2, seconds=seconds, every_s=EVERY_S)


def main(many: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        filled = Filled(Path(folder), many)
        gateway = filled.gateway
        for kind in ("clean", "killed"):
            print(
                f"  ready after a {kind} stop in {ready_s(gateway):.2f} s   (limit {START_LIMIT_S} s)",
                flush=True,
            )
            if kind == "clean":
                gateway.kill()
        for name, make in questions(filled.account, filled.devices).items():
            print(ask(gateway.port, make).line(name), f"  (limit p99 {READ_LIMIT_MS} ms)", flush=True)
        sweep(filled)


def sweep(filled: Filled) -> None:
    """Sends while a third of the messages and nearly all events and deliveries are too old."""
    gateway = filled.gateway
    before = filled.database.stat().st_size
    assert gateway.stop() == 0
    sweeps = gateway.logged().count('"event": "retention"')
    gateway.settings |= {"retention.messages_days": 240, "retention.events_days": 1}
    gateway.start()
    send = questions(filled.account, filled.devices)["send"]
    load = ask(gateway.port, send, SWEEP_S)
    print(load.line("send while sweeping"), f"longest {max(load.times_ms):.0f} ms", end="")
    print(f"   (limit {HOLD_LIMIT_MS} ms)", flush=True)
    until("end of the sweep", lambda: gateway.logged().count('"event": "retention"') > sweeps, 600)
    assert gateway.stop() == 0
    print(
        f"  database {before >> 20} MiB before, {filled.database.stat().st_size >> 20} MiB after", flush=True
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else MESSAGES)
