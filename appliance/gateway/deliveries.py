"""The delivery worker: a durable queue in the store, emptied by as many POSTs at once as receivers bear.

A turn reads what waits and hands it to the lanes; POSTs run outside any transaction, and their results are
committed in groups. That a delivery is under way is nowhere but in memory, so that nothing is written before
its result is there, and what a dying process held simply waits: at least once, in order per endpoint and
device on first attempts.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterator
from itertools import chain

import aiohttp

from appliance.gateway.addresses import Policy
from appliance.gateway.clock import JumpWatch
from appliance.gateway.delivery_alarm import DeliveryAlarm
from appliance.gateway.delivery_attempt import Answer, Receiver, attempt, unsendable
from appliance.gateway.delivery_lanes import Lane
from appliance.gateway.delivery_outcome import given_up, judge
from appliance.gateway.delivery_plan import Claim, DeliveryPlan
from appliance.gateway.delivery_records import PROBE_MS, DeliveryRecords
from appliance.gateway.destinations import Destinations
from appliance.gateway.endpoint_seal import EndpointSeal
from appliance.gateway.vault import Vault, VaultError
from appliance.model.clock import Clock
from appliance.model.errors import GatewayError
from appliance.model.tally import Spread, Tally
from appliance.model.webhook import DeliveryStatus, Endpoint, EndpointStatus
from appliance.store import delivery_queue, webhooks
from appliance.store.database import Database, Reader, Transaction
from appliance.store.delivery_queue import Claimed, Recorded

log = logging.getLogger(__name__)

SLOW_S = 0.3
"""An attempt that takes longer moves its endpoint into the slow pool, where it holds up only its like."""

ABSENT_MS = 24 * 3600 * 1000
"""An endpoint that should have been probed so long ago was not: nobody ran."""

SWEEP_S = 60.0
STORE_REFUSED_S = 1.0
CATCH_UP_GROUP = 500
BREATH_MOST_S = 0.05
EXPECTED = (
    *(("delivered", answer) for answer in ("2xx", "3xx")),
    *((outcome, answer) for outcome in ("failed", "dead") for answer in ("3xx", "4xx", "5xx", "none")),
    *(("stopped", answer) for answer in ("4xx", "none")),
)
"""How attempts end, and the classes of the answers."""

ATTEMPT_BOUNDS_S = (0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)

FURTHEST_MS = 30 * 3600 * 1000
"""No attempt is ever due later than this: a day, a fifth more, and some."""


class DeliveryWorker:
    """Delivers what fan-out queued. `run` is one task for the whole life of the gateway; `wakeup` is set by
    whoever queued something (a hint: the worker reads the table). Counted are `attempts`, by what they meant
    for their delivery and the class of the receiver's answer, and how long they took."""

    def __init__(
        self,
        db: Database,
        reader: Reader,
        vault: Vault,
        clock: Clock,
        destinations: Destinations,
        jitter: random.Random | None = None,
    ) -> None:
        self._db = db
        self._reader = reader
        self._seal = EndpointSeal(vault)
        self._clock = clock
        self._destinations = destinations
        self._jitter = jitter or random.Random()  # noqa: S311 (spreads load, guards nothing)
        self.wakeup = asyncio.Event()
        self._records = DeliveryRecords(db, self.wakeup.set)
        self._plan = DeliveryPlan()
        self._flying: dict[asyncio.Task[None], Claimed] = {}
        self._clients: dict[Policy, aiohttp.ClientSession] = {}
        self._next_sweep = 0.0
        self._watch = JumpWatch(clock)
        self._jumped_ms = 0
        self._trying_since_ms = 0
        self._alarm = DeliveryAlarm()
        self._stopping = False
        self._grace_s = 0.0
        self._ended: asyncio.Event | None = None
        self.attempts = Tally(*EXPECTED)
        self.attempt_s = Spread(ATTEMPT_BOUNDS_S)

    async def run(self) -> None:
        """Deliver until `stop`. Raises what the database raises at the start; later refusals are waited
        out."""
        self._ended = asyncio.Event()
        self._trying_since_ms = self._now_ms()
        try:
            await self._db.transaction(self._take_up)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._records.run(), name="delivery-records")
                while not self._stopping:
                    await self._turn()
                await self._wind_up()
        finally:
            for task in self._flying:
                task.cancel()
            for client in self._clients.values():
                await client.close()
            self._ended.set()

    def wake(self) -> None:
        """Something may be due."""
        self.wakeup.set()

    def refresh(self, endpoint_id: str) -> None:
        """The endpoint was changed or deleted: it is read anew before the next POST to it."""
        self._plan.forget(endpoint_id)
        self.wakeup.set()

    def under_way(self, endpoint_id: str) -> list[int]:
        """Row numbers of what is being posted to the endpoint, or was and is not yet recorded."""
        return [no for where, no in self._under_way() if where == endpoint_id]

    async def stop(self, grace_s: float = 5.0) -> None:
        """End: POSTs in flight may finish within `grace_s`, the others are cut off; returns when all results
        are on disk."""
        self._stopping, self._grace_s = True, grace_s
        self.wakeup.set()
        if self._ended is not None:
            await self._ended.wait()

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.wakeup.clear()
        try:
            pause_s = await self._serve()
        except GatewayError as error:
            log.warning("deliveries_wait_for_store", extra={"code": error.code})
            pause_s = STORE_REFUSED_S
        # Reading what waits takes longer the more endpoints there are: at most half the time goes there.
        await asyncio.sleep(min(loop.time() - began, BREATH_MOST_S))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self.wakeup.wait()

    async def _serve(self) -> float:
        """Claim what is due and start what fits; returns the seconds until something else is due."""
        await self._follow_clock()
        works = await self._reader.all(delivery_queue.work(chain.from_iterable(self._taken().values())))
        if self._clock.monotonic() >= self._next_sweep:
            self._next_sweep = self._clock.monotonic() + SWEEP_S
            self._alarm.ring(works, self._clock.now_ms(), self._clock.monotonic())
        for work in works:
            if work.catching_up:
                await self._catch_up(work.endpoint_id)
        now_ms, now_s = self._clock.now_ms(), self._clock.monotonic()
        claims, pause_s = self._plan.choose(works, now_ms, now_s)
        if claims:
            await self._claim(claims, now_ms, now_s)
        self._start()
        return pause_s

    async def _follow_clock(self) -> None:
        """Notice a wall clock that was set. What is due earlier than planned gets one attempt early, at the
        endpoint's pace; what would be due impossibly late is due now."""
        self._now_ms()
        jump_ms = self._jumped_ms
        if jump_ms > 0:
            await self._db.transaction(lambda tx: webhooks.shift(tx, jump_ms))
        elif jump_ms < 0:
            await self._db.transaction(self._clamp)
        if jump_ms:
            self._jumped_ms -= jump_ms
            log.warning("clock_was_set", extra={"ahead_s": jump_ms // 1000})

    def _now_ms(self) -> int:
        """The wall clock's time. That it was set is noted at once, and followed in the next turn."""
        jump_ms, now_ms = self._watch.look(), self._clock.now_ms()
        if jump_ms:
            self._jumped_ms += jump_ms
            self._trying_since_ms = now_ms
        return now_ms

    def _take_up(self, tx: Transaction) -> None:
        """At the start: make up for a clock that was set, and time that went by, while nobody ran."""
        webhooks.skip_absence(tx, self._clock.now_ms(), ABSENT_MS)
        self._clamp(tx)

    def _clamp(self, tx: Transaction) -> None:
        """Let nothing wait, and nobody be unprobed, for as long as the clock was set back."""
        now_ms = self._clock.now_ms()
        webhooks.clamp(tx, now_ms, now_ms + PROBE_MS)
        delivery_queue.clamp(tx, now_ms, now_ms + FURTHEST_MS)

    def _taken(self) -> dict[str, list[int]]:
        """Row numbers, by endpoint, of what is being worked on, from its claim to the commit of its
        result."""
        claimed = ((delivery.endpoint_id, delivery.no) for delivery in self._plan.waiting())
        taken: dict[str, list[int]] = {}
        for endpoint_id, no in chain(claimed, self._under_way()):
            taken.setdefault(endpoint_id, []).append(no)
        return taken

    def _under_way(self) -> Iterator[tuple[str, int]]:
        """Endpoint and row number of what is being posted, or was and is not yet recorded."""
        for delivery in self._flying.values():
            yield delivery.endpoint_id, delivery.no
        for done in self._records.unwritten():
            yield done.endpoint_id, done.attempt.delivery_no

    async def _catch_up(self, endpoint_id: str) -> None:
        """Make the next part of a backlog due; turn after turn, so that no transaction is long."""
        now_ms = self._clock.now_ms()

        def write(tx: Transaction) -> int:
            made = delivery_queue.make_due(tx, endpoint_id, now_ms, CATCH_UP_GROUP)
            if made < CATCH_UP_GROUP:
                webhooks.caught_up(tx, endpoint_id)
            return made

        if await self._db.transaction(write):
            self.wakeup.set()

    async def _claim(self, claims: list[Claim], now_ms: int, now_s: float) -> None:
        ids = "[" + ",".join(f'"{claim.lane.endpoint_id}"' for claim in claims) + "]"
        taken = self._taken()

        def read(tx: Transaction) -> list[tuple[Claim, Endpoint, list[Claimed]]]:
            rows = {endpoint.id: endpoint for endpoint in tx.all(webhooks.of_any_account(ids))}
            found = []
            for claim in claims:
                endpoint = rows.get(claim.lane.endpoint_id)
                if endpoint is not None and _takes(endpoint):
                    due = _due(tx, claim, now_ms, taken.get(endpoint.id, []))
                    found.append((claim, endpoint, due))
            return found

        for claim, endpoint, due in await self._db.transaction(read, yields=True):
            if await self._prepared(claim.lane, endpoint, now_ms):
                self._plan.take_in(claim, due, now_s)

    async def _prepared(self, lane: Lane, endpoint: Endpoint, now_ms: int) -> bool:
        """Give the lane what it needs to post; False when the endpoint's secrets do not open."""
        if lane.receiver is not None and lane.receiver.is_of(endpoint):
            return True
        try:
            lane.receiver = Receiver(endpoint, self._seal, now_ms)
        except VaultError as error:
            reason = f"{error} Rotate the secret, set the headers again, then enable it."
            await self._db.transaction(lambda tx: webhooks.mark_stopped(tx, endpoint.id, reason))
            return False
        return True

    def _start(self) -> None:
        for lane, delivery in self._plan.starts():
            assert lane.receiver is not None
            task = asyncio.create_task(self._deliver(lane, lane.receiver, delivery))
            self._flying[task] = delivery

    async def _deliver(self, lane: Lane, receiver: Receiver, delivery: Claimed) -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        began = loop.time()
        timer = loop.call_later(SLOW_S, self._is_slow, lane)
        try:
            done = await self._attempt(lane, receiver, delivery)
        finally:
            timer.cancel()
            del self._flying[task]
        self._records.add(done)
        self.attempts.add(_outcome(done), _answer_class(done))
        self.attempt_s.note(done.attempt.duration_ms / 1000)
        if done.endpoint == "stopped":
            # Until that is on disk and read again; enabling the endpoint clears it.
            lane.may_start_at = self._clock.monotonic() + SWEEP_S
        well, quick = done.endpoint in {"well", "unknown"}, loop.time() - began < SLOW_S
        self._plan.ended(lane, delivery, well=well, quick=quick)
        if not self._stopping:
            self._start()
        if self._plan.wants_more(lane):
            self.wakeup.set()

    async def _attempt(self, lane: Lane, receiver: Receiver, delivery: Claimed) -> Recorded:
        """Try the delivery and judge the answer; a fault of ours counts as a failed attempt."""
        at_ms = self._now_ms()
        try:
            if (defect := unsendable(delivery)) is not None:
                log.error("delivery_unsendable", extra={"reason": defect, "delivery_no": delivery.no})
                return given_up(delivery, defect, at_ms)
            answer = await attempt(self._client(), receiver, delivery, self._clock, at_ms)
        except Exception:
            log.exception("delivery_crashed", extra={"delivery_no": delivery.no})
            answer = Answer(error="internal")
        return judge(
            delivery,
            answer,
            at_ms,
            trying_since_ms=max(self._trying_since_ms, lane.since_ms),
            redirect_is_success=receiver.endpoint.redirect_is_success,
            jitter=self._jitter,
        )

    def _is_slow(self, lane: Lane) -> None:
        self._plan.slow(lane)
        self._start()

    def _client(self) -> aiohttp.ClientSession:
        policy = self._destinations.policy
        client = self._clients.get(policy)
        if client is None:
            client = self._clients[policy] = self._destinations.open_client(policy)
        return client

    async def _wind_up(self) -> None:
        """Wait for what is in flight as long as there is grace, cut off the rest, write all results."""
        self._plan.drain()
        if self._flying:
            await asyncio.wait(list(self._flying), timeout=self._grace_s)
        cut = list(self._flying)
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)
        log.info("deliveries_stopped", extra={"cut": len(cut)})
        self._records.end()


def _outcome(done: Recorded) -> str:
    """What the attempt meant: `delivered`, `dead` (the last one), `stopped` (with its endpoint), `failed`."""
    if done.status is DeliveryStatus.PENDING:
        return "stopped" if done.endpoint == "stopped" else "failed"
    return str(done.status)


def _answer_class(done: Recorded) -> str:
    return f"{done.attempt.status // 100}xx" if done.attempt.status else "none"


def _takes(endpoint: Endpoint) -> bool:
    return endpoint.enabled and endpoint.status is not EndpointStatus.STOPPED


def _due(tx: Transaction, claim: Claim, now_ms: int, taken: list[int]) -> list[Claimed]:
    endpoint_id = claim.lane.endpoint_id
    if claim.probe:
        probe = tx.one(delivery_queue.probe(endpoint_id, taken))
        return [] if probe is None else [probe]
    later = tx.all(delivery_queue.due(endpoint_id, now_ms, claim.due, taken)) if claim.due else []
    return later + (tx.all(delivery_queue.fresh(endpoint_id, claim.fresh, taken)) if claim.fresh else [])
