"""R6: a receiver that is down for days, on a clock that runs fast: noticed within one probe once it is well
again, then everything at once; given up only after seven days and one last attempt.

python tests/crash/outage.py [deliveries]
"""

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from delivery_rig import Rig, eventually
from receiver import Receiver

from appliance.gateway.retry import DAY_S, JITTER, SCHEDULE_S
from appliance.model.webhook import DeliveryStatus, Endpoint
from appliance.store.query import Query, count

HOUR_S = 3600
NOTICED_WITHIN_S, DELIVERED_WITHIN_S = 15 * 60, 5 * 60
TICK_S = 0.004
TELL_GROUP = 500
NOMINAL_S = (*SCHEDULE_S, *[DAY_S] * 7)


class FastClock:
    """Wall and monotonic time that run `speed` times as fast as the machine's; the speed may change."""

    def __init__(self) -> None:
        self._speed = 1.0
        self._passed_s = 1000.0
        self._since = time.monotonic()

    def run(self, speed: float) -> None:
        self._passed_s = self.monotonic()
        self._since, self._speed = time.monotonic(), speed

    def now_ms(self) -> int:
        return 1_780_000_000_000 + int(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return self._passed_s + (time.monotonic() - self._since) * self._speed


class Outcome(msgspec.Struct):
    """Spans of the outage in seconds: `noticed_s` by the fast clock, `delivered_s` real ones."""

    deliveries: int
    down_s: float
    attempts: int
    checked: int = 0
    early: int = 0
    late: int = 0
    dead: int = 0
    dead_too_soon: int = 0
    noticed_s: float = 0.0
    delivered_s: float = 0.0
    most_in_flight: int = 0

    def faults(self) -> list[str]:
        """What was not as promised."""
        found = [f"{self.early} attempts came too early"] if self.early else []
        found += [f"{self.late} attempts were planned too late"] if self.late else []
        found += [f"{self.dead_too_soon} were given up too soon"] if self.dead_too_soon else []
        if self.noticed_s > NOTICED_WITHIN_S:
            found.append(f"recovery noticed after {self.noticed_s:.0f} s")
        if self.delivered_s > DELIVERED_WITHIN_S:
            found.append(f"delivered after {self.delivered_s:.0f} s")
        return found

    def line(self) -> str:
        return (
            f"{self.deliveries} deliveries, down {self.down_s / HOUR_S:.1f} h: {self.attempts} attempts "
            f"({self.checked} schedules checked), {self.dead} given up; noticed after "
            f"{self.noticed_s:.0f} s of its clock, all delivered "
            f"{self.delivered_s:.1f} s later, at most {self.most_in_flight} at once"
        )


class Outage:
    """A worker, a receiver that refuses, and deliveries that wait. Use it as made by `outage`."""

    def __init__(self, rig: Rig, clock: FastClock, receiver: Receiver, endpoint: Endpoint) -> None:
        self.rig, self.clock, self.receiver, self.endpoint = rig, clock, receiver, endpoint
        self.began_at = clock.monotonic()

    async def last(self, down_s: float, speed: float) -> None:
        """Let the outage go on until `down_s` after its beginning."""
        self.clock.run(speed)
        while self.clock.monotonic() < self.began_at + down_s:
            self.rig.worker.wake()
            await asyncio.sleep(TICK_S)
        self.clock.run(1)

    async def recover(self, deliveries: int, speed: float) -> Outcome:
        """The receiver is well again: how long until that is noticed, and until nothing waits."""
        outcome = Outcome(deliveries, self.clock.monotonic() - self.began_at, len(self.receiver.received))
        outcome.checked, outcome.early, outcome.late = await self._off_schedule()
        outcome.dead = await self.number(DeliveryStatus.DEAD)
        self.receiver.script = lambda _: 200
        self.receiver.most_in_flight = 0
        before, recovered_at = len(self.receiver.received), self.clock.monotonic()
        self.clock.run(speed)
        while len(self.receiver.received) == before:
            self.rig.worker.wake()
            await asyncio.sleep(TICK_S)
        outcome.noticed_s = self.clock.monotonic() - recovered_at
        self.clock.run(1)
        began = time.monotonic()
        await eventually(lambda: self._is_empty(deliveries - outcome.dead), DELIVERED_WITHIN_S * 2, 0.1)
        outcome.delivered_s = time.monotonic() - began
        outcome.most_in_flight = self.receiver.most_in_flight
        return outcome

    async def number(self, status: DeliveryStatus) -> int:
        query = count("SELECT count(*) FROM deliveries WHERE status = ?", str(status))
        return await self.rig.db.reader.one(query) or 0

    async def given_up_too_soon(self) -> int:
        """Dead deliveries that were not tried once after all of the seven days."""
        sql = (
            "SELECT count(*) FROM deliveries d WHERE status = 'dead' AND failing_since + ? > "
            "(SELECT max(at + duration_ms) FROM attempts WHERE delivery_no = d.no)"
        )
        return await self.rig.db.reader.one(count(sql, 7 * DAY_S * 1000)) or 0

    async def _is_empty(self, expected: int) -> bool:
        return await self.number(DeliveryStatus.DELIVERED) == expected

    async def _off_schedule(self) -> tuple[int, int, int]:
        """How many deliveries were looked at; attempts made before 0.8 of their wait; next ones planned after
        1.2 of it.

        A probe comes at any time and leaves the schedule alone, so that a delivery which was ever probed is
        left out: it has more attempts than steps.
        """
        sql = (
            "SELECT d.step, d.status, d.due_at, group_concat(a.at || ' ' || (a.at + a.duration_ms)) FROM "
            "(SELECT * FROM attempts ORDER BY delivery_no, n) a JOIN deliveries d ON d.no = a.delivery_no "
            "GROUP BY d.no HAVING count(*) = d.step"
        )
        rows = await self.rig.db.reader.all(Query(sql, (), lambda row: row))
        early = late = 0
        for _, status, due_at, text in rows:
            spans = [tuple(map(int, span.split())) for span in text.split(",")]
            waits = [(b[0] - a[1]) / 1000 for a, b in itertools.pairwise(spans)]
            early += sum(w < n * (1 - JITTER) - 0.01 for w, n in zip(waits, NOMINAL_S, strict=False))
            planned = (due_at - spans[-1][1]) / 1000
            late += status == "pending" and planned > NOMINAL_S[len(spans) - 1] * (1 + JITTER) + 0.01
        return len(rows), early, late


@asynccontextmanager
async def outage(folder: Path, deliveries: int) -> AsyncIterator[Outage]:
    """The receiver goes down, and everything is told meanwhile."""
    clock = FastClock()
    async with Receiver(lambda _: 503) as receiver, Rig(folder, clock) as rig:
        endpoint = await rig.endpoint(receiver.url)
        down = Outage(rig, clock, receiver, endpoint)
        for part in range(0, deliveries, TELL_GROUP):
            await rig.tell(min(TELL_GROUP, deliveries - part))
        yield down


async def down_for(folder: Path, deliveries: int, down_s: float, speed: float, probe_speed: float) -> Outcome:
    """Down for less than seven days: nothing is given up."""
    async with outage(folder, deliveries) as down:
        await down.last(down_s, speed)
        return await down.recover(deliveries, probe_speed)


async def given_up(folder: Path, deliveries: int, speed: float) -> Outcome:
    """Down for so long that all is given up; replayed, everything arrives."""
    async with outage(folder, deliveries) as down:
        await down.last(6.9 * DAY_S, speed)
        too_soon = await down.number(DeliveryStatus.DEAD)
        down.clock.run(speed / 4)

        async def all_dead() -> bool:
            down.rig.worker.wake()
            return await down.number(DeliveryStatus.DEAD) == deliveries

        await eventually(all_dead, 1800, TICK_S * 5)
        too_soon += await down.given_up_too_soon()
        outcome = Outcome(deliveries, down.clock.monotonic() - down.began_at, len(down.receiver.received))
        outcome.dead, outcome.dead_too_soon = deliveries, too_soon
        down.clock.run(1)
        down.receiver.script = lambda _: 200
        began = time.monotonic()
        replayed = await down.rig.webhooks.replay_range(
            down.rig.account.id, down.endpoint.id, 0, status=DeliveryStatus.DEAD
        )
        assert replayed == deliveries
        await eventually(lambda: down._is_empty(deliveries), DELIVERED_WITHIN_S * 2, 0.1)
        outcome.delivered_s = time.monotonic() - began
        outcome.most_in_flight = down.receiver.most_in_flight
        return outcome


async def main(deliveries: int) -> int:
    faults = 0
    plays: tuple[tuple[str, Callable[[Path], Awaitable[Outcome]]], ...] = (
        ("24 hours", lambda folder: down_for(folder, deliveries, DAY_S, 600, 60)),
        ("7 days less an hour", lambda folder: down_for(folder, deliveries, 7 * DAY_S - HOUR_S, 3000, 60)),
        ("until given up, replayed", lambda folder: given_up(folder, deliveries, 2400)),
    )
    for name, play in plays:
        with tempfile.TemporaryDirectory() as folder:
            outcome = await play(Path(folder))
        print(f"{name}: {outcome.line()}", flush=True)
        for fault in outcome.faults():
            print(f"  FAULT {fault}", flush=True)
            faults += 1
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 10_000)))
