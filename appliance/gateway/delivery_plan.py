"""Which endpoints are served next: fairly, the failing ones sparingly, and none at another's cost."""

import resource
from collections.abc import Iterator, Sequence

import msgspec

from appliance.gateway.delivery_lanes import Lane, Pool, next_start
from appliance.model.webhook import EndpointStatus
from appliance.store.delivery_queue import Claimed, Work

FAST_SLOTS = 256
SLOW_SLOTS_MOST = 1024
CLAIM_MOST = 128
"""Endpoints that one claim serves, which keeps the transaction short."""

IDLE_MS = 30_000
LONG_FAILING_MS = 15 * 60 * 1000
LONG_FAILING_PACE_S = 1.0
"""An endpoint that has failed for so long gets one attempt a second, however much waits for it."""

NOTHING_FOUND_S = 0.05
NOTHING_TO_PROBE_S = 60.0


class Claim(msgspec.Struct):
    """What a turn wants for one lane: so many first attempts, so many later ones, or a probe. `paced`: the
    next one has to wait a little."""

    lane: Lane
    epoch: int
    fresh: int = 0
    due: int = 0
    probe: bool = False
    paced: bool = False


class DeliveryPlan:
    """All lanes and both pools. New endpoints begin in the fast pool, failing ones in the slow one."""

    def __init__(self) -> None:
        self._fast, self._slow = Pool(FAST_SLOTS), Pool(_slow_slots())
        self._lanes: dict[str, Lane] = {}
        self._starved = False

    def choose(self, works: Sequence[Work], now_ms: int, now_s: float) -> tuple[list[Claim], float]:
        """What to claim now, and the seconds until something else is due. The longest unserved come first."""
        pause_ms, ripe = float(IDLE_MS), []
        for work in works:
            if work.fresh or work.due_at is not None:
                lane = self._lane(work, now_ms)
                wait_ms = _wait_ms(work, lane, now_ms, now_s)
                if wait_ms <= 0:
                    ripe.append((lane, work))
                else:
                    pause_ms = min(pause_ms, wait_ms)
        ripe.sort(key=lambda each: each[0].last_claimed)
        self._starved = False
        claims: list[Claim] = []
        for lane, work in ripe:
            claim = self._claim(lane, work, now_ms, now_s)
            if claim is not None:
                claims.append(claim)
        if len(claims) > CLAIM_MOST:
            claims, pause_ms = claims[:CLAIM_MOST], 0.0
        return claims, pause_ms / 1000

    def take_in(self, claim: Claim, deliveries: list[Claimed], now_s: float) -> None:
        """Put what was claimed into its lane, unless the lane was thrown out meanwhile."""
        lane = claim.lane
        if lane.epoch != claim.epoch:
            return
        lane.last_claimed = now_s
        lane.more = len(deliveries) >= claim.fresh + claim.due
        if deliveries and claim.paced:
            lane.may_start_at = now_s + LONG_FAILING_PACE_S
        elif not deliveries and claim.probe:
            lane.may_probe_at = now_s + NOTHING_TO_PROBE_S
        elif not deliveries:
            lane.may_start_at = now_s + NOTHING_FOUND_S
        lane.waiting.extend(deliveries)
        lane.enqueue()

    def starts(self) -> Iterator[tuple[Lane, Claimed]]:
        """Everything there is a slot for now, taking the slots."""
        # The slow pool first: a lane that has become fast moves on from there.
        for pool in (self._slow, self._fast, self._slow):
            while (start := next_start(pool)) is not None:
                yield start

    def slow(self, lane: Lane) -> None:
        """An attempt of this lane takes long."""
        if lane.pool is self._fast:
            lane.move(self._slow)

    def ended(self, lane: Lane, delivery: Claimed, *, well: bool, quick: bool) -> None:
        """An attempt is over. What else was claimed for an endpoint that did not take it is thrown out."""
        lane.end(delivery)
        lane.went_well(well)
        if well:
            lane.may_start_at = 0.0
        if well and quick and lane.pool is self._slow:
            lane.move(self._fast)
        if not well:
            lane.drop_waiting()
        lane.enqueue()

    def wants_more(self, lane: Lane) -> bool:
        """Whether the next turn could claim something because of a slot that has just become free."""
        return self._starved or (lane.more and lane.room(fast=lane.pool is self._fast) > 0)

    def forget(self, endpoint_id: str) -> None:
        """The endpoint was changed or deleted: what was claimed for it is thrown out."""
        lane = self._lanes.get(endpoint_id)
        if lane is None:
            return
        lane.receiver, lane.may_start_at = None, 0.0
        if not lane.in_flight:
            del self._lanes[endpoint_id]
        lane.drop_waiting()

    def drain(self) -> None:
        """Throw out everything not yet started."""
        for lane in self._lanes.values():
            lane.drop_waiting()

    def waiting(self) -> Iterator[Claimed]:
        """What is claimed and not started."""
        for lane in self._lanes.values():
            yield from lane.waiting

    def _lane(self, work: Work, now_ms: int) -> Lane:
        lane = self._lanes.get(work.endpoint_id)
        if lane is None:
            failing = work.status is EndpointStatus.FAILING
            lane = Lane(work.endpoint_id, self._slow if failing else self._fast, now_ms)
            self._lanes[work.endpoint_id] = lane
        return lane

    def _claim(self, lane: Lane, work: Work, now_ms: int, now_s: float) -> Claim | None:
        fast = lane.pool is self._fast
        room = lane.room(fast=fast)
        if room <= 0:
            return None
        if not fast and self._slow.free <= len(self._slow.ready):
            self._starved = True
            return None
        claim = _shared(lane, work, room, now_ms)
        claim.paced = work.failing_since is not None and now_ms - work.failing_since >= LONG_FAILING_MS
        return claim


def _wait_ms(work: Work, lane: Lane, now_ms: int, now_s: float) -> float:
    """Milliseconds until the endpoint is to be tried; 0 or less for now."""
    paced_ms = (lane.may_start_at - now_s) * 1000
    if work.fresh:
        return paced_ms
    wait_ms = 0.0 if work.due_at is None else work.due_at - now_ms
    if work.status is EndpointStatus.FAILING and work.probe_at is not None:
        probe_ms = max(work.probe_at - now_ms, (lane.may_probe_at - now_s) * 1000)
        wait_ms = min(wait_ms, probe_ms)
    return max(paced_ms, wait_ms)


def _shared(lane: Lane, work: Work, room: int, now_ms: int) -> Claim:
    """The room divided between first attempts and later ones; a room of one goes to them in turn."""
    due = work.due_at is not None and work.due_at <= now_ms
    if not work.fresh and not due:
        return Claim(lane, lane.epoch, probe=True)
    if work.fresh and due:
        lane.fresh_first = not lane.fresh_first
        fresh = room // 2 + (room % 2 if lane.fresh_first else 0)
        return Claim(lane, lane.epoch, fresh=fresh, due=room - fresh)
    return Claim(lane, lane.epoch, fresh=room if work.fresh else 0, due=0 if work.fresh else room)


def _slow_slots() -> int:
    """Half of the file descriptors this process may have, at most SLOW_SLOTS_MOST."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(SLOW_SLOTS_MOST, allowed // 2 - FAST_SLOTS))
