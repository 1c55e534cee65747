"""R9: a wall clock that is wrong, and one that is set while the gateway runs: nothing is given up, deleted or
sent twice, nobody is stormed, and the rate limit does not notice.

python tests/crash/clocks.py
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from arranged_main import CLOCK, PROGRAM, Wall
from hook import Hook, receiving
from running import Account, Running, until

DAY_S, YEAR_S = 86_400.0, 365 * 86_400.0
WAITING, LIMIT = 30, 5
ATTEMPTS_MORE = 2
"""After a jump: one that comes early, and the schedule's next one, seconds later."""


class Jump(msgspec.Struct, frozen=True):
    """How far off the wall clock is before and after; `restart`: the gateway is off in between."""

    name: str
    before_s: Callable[[], float]
    after_s: Callable[[], float]
    restart: bool = False


JUMPS = (
    Jump("from 1970 to now", lambda: 60 - time.time(), lambda: 0),
    Jump("a day ahead", lambda: 0, lambda: DAY_S),
    Jump("ten years back", lambda: 0, lambda: -10 * YEAR_S),
    Jump("ten years ahead", lambda: 0, lambda: 10 * YEAR_S),
    Jump("ten years ahead at a restart", lambda: 0, lambda: 10 * YEAR_S, restart=True),
    Jump("ten years back at a restart", lambda: 0, lambda: -10 * YEAR_S, restart=True),
    Jump("to 1970 at a restart", lambda: 0, lambda: 60 - time.time(), restart=True),
)


class Round:
    """One gateway, one jump: what is prepared before it, and what must hold after it."""

    def __init__(self, folder: Path, jump: Jump, good: Hook, bad: Hook) -> None:
        self.jump, self.good, self.bad = jump, good, bad
        self.faults: list[str] = []
        self.wall = Wall(folder / "clock")
        settings = {
            "webhooks.allow": ["loopback"],
            "limits.messages_per_minute": LIMIT,
            "logs.format": "json",
        }
        environment = {CLOCK: str(self.wall.path)}
        self.gateway = Running(folder / "data", settings, environment, PROGRAM)

    def play(self) -> list[str]:
        """The faults that were found."""
        self.wall.turn(self.jump.before_s())
        self.gateway.start()
        try:
            self._prepare()
            self._jump()
            self._check()
        finally:
            self.gateway.close()
            if (code := self.gateway.stop()) != 0:
                self.faults.append(f"exit code {code}")
        if "Traceback" in self.gateway.logged():
            self.faults.append("a traceback in the log")
        return self.faults

    def _prepare(self) -> None:
        self.account: Account = self.gateway.account()
        self.device = self.account.device()
        events = ["message.received"]
        self.account.ok("POST", "/webhooks", {"url": self.good.url, "events": events})
        self.failing = self.account.ok("POST", "/webhooks", {"url": self.bad.url, "events": events})["id"]
        self._receive(WAITING)
        self.bad.status = 503
        until("first attempts", lambda: len(self._tries()) == WAITING)
        until("good deliveries", lambda: len(self.good.event_ids()) == WAITING)
        self.sent = [self._send(f"key-{n}") for n in range(LIMIT)]
        self._expect("over the limit", self._send("one-too-many").status_code, 429)
        self.told = self._told()
        self.tries = self._tries()

    def _jump(self) -> None:
        if self.jump.restart:
            self.gateway.stop()
            self.wall.turn(self.jump.after_s())
            self.gateway.start()
            self.account.connected(self.device)
        else:
            self.wall.turn(self.jump.after_s())

    def _check(self) -> None:
        if not self.jump.restart:
            self._expect("over the limit after the jump", self._send("still-too-many").status_code, 429)
        again = self._send("key-0")
        self._expect("replayed", again.headers.get("Idempotent-Replayed"), "true")
        self._expect("the same message", again.json()["id"], self.sent[0].json()["id"])
        self._receive(1)
        until("new event at the good receiver", lambda: len(self.good.event_ids()) == WAITING + 1)
        until("an attempt for what waits", self._all_tried_again)
        most = max(now - self.tries[event] for event, now in self._tries().items() if event in self.tries)
        if most > ATTEMPTS_MORE:
            self.faults.append(f"{most} attempts for one delivery after the jump")
        self._expect("given up", len(self._deliveries("dead")), 0)
        self._expect("events told before the jump and kept", self.told - self._told(), set())
        self.bad.status = 200
        self.account.ok("PATCH", f"/webhooks/{self.failing}", {"enabled": True})
        until("recovery", lambda: len(self._deliveries("delivered")) == WAITING + 1)

    def _all_tried_again(self) -> bool:
        now = self._tries()
        return all(now[event] > before for event, before in self.tries.items())

    def _tries(self) -> Counter[int]:
        """How often each event came to the bad receiver."""
        return Counter(post.event_id for post in list(self.bad.posts))

    def _told(self) -> set[int]:
        path, params = "/events", {"limit": 200, "after": 0}
        answer = self.account.http.get(path, params=params, headers={"Accept": "application/json"})
        return {event["data"]["eventId"] for event in answer.json()["items"]}

    def _deliveries(self, status: str) -> list[Any]:
        path, params = f"/webhooks/{self.failing}/deliveries", {"status": status, "limit": 200}
        found: list[Any] = self.account.ok("GET", path, params=params)["items"]
        return found

    def _receive(self, number: int) -> None:
        self.account.ok("POST", f"/devices/{self.device}/sandbox/receive", {"text": "Halo!", "count": number})

    def _send(self, key: str) -> Any:
        body = {"deviceId": self.device, "to": "628111222333", "text": key}
        return self.account.http.post("/messages/send-text", json=body, headers={"Idempotency-Key": key})

    def _expect(self, what: str, found: Any, expected: Any) -> None:
        if found != expected:
            self.faults.append(f"{what}: {found!r} instead of {expected!r}")


def play(folder: Path, jump: Jump) -> list[str]:
    """What a jump broke."""
    with receiving() as good, receiving(503) as bad:
        return Round(folder, jump, good, bad).play()


def main() -> int:
    broken = 0
    for jump in JUMPS:
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            faults = play(Path(folder), jump)
        print(f"{jump.name}: {'; '.join(faults) or 'well'} ({time.monotonic() - began:.0f} s)", flush=True)
        broken += bool(faults)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
