"""Who may be posted to next: one lane for every endpoint, and two pools of slots, so that slow receivers only
ever wait for each other."""

from collections import deque

from appliance.gateway.delivery_attempt import Receiver
from appliance.store.delivery_queue import Claimed

SLOTS_MOST = 8
PREFETCH = 64


class Pool:
    """A number of slots, given round robin to the lanes that stand in `ready`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        self.ready: deque[Lane] = deque()

    @property
    def free(self) -> int:
        return self.size - self.taken


class Lane:
    """What is claimed for one endpoint, and how much of it may be in flight at once.

    `slots` begins at one, grows with every success and falls back to one with a failure: that paces a
    backlog after an outage. `epoch` changes when what waits is thrown out, so that a claim which was under
    way meanwhile is thrown out too; else later deliveries would overtake earlier ones. `since_ms` (wall
    clock): from then on the endpoint is served.
    """

    __slots__ = (
        *("busy", "endpoint_id", "epoch", "fresh_first", "in_flight", "last_claimed", "may_probe_at"),
        *("may_start_at", "more", "pool", "queued", "receiver", "since_ms", "slots", "waiting"),
    )

    def __init__(self, endpoint_id: str, pool: Pool, since_ms: int) -> None:
        self.endpoint_id = endpoint_id
        self.pool = pool
        self.since_ms = since_ms
        self.receiver: Receiver | None = None
        self.waiting: deque[Claimed] = deque()
        self.busy: set[str] = set()
        self.in_flight = 0
        self.slots = 1
        self.epoch = 0
        self.more = False
        self.queued = False
        self.fresh_first = True
        self.may_start_at = 0.0
        self.may_probe_at = 0.0
        self.last_claimed = 0.0

    def room(self, *, fast: bool) -> int:
        """How many deliveries may be claimed for this lane now."""
        if self.slots == 1:
            return 1 - self.in_flight - len(self.waiting)
        ahead = PREFETCH if fast else 2 * self.slots
        return ahead - len(self.waiting) if len(self.waiting) <= ahead // 2 else 0

    def take(self) -> Claimed | None:
        """The next delivery to start, None while nothing may start.

        First attempts for one device go one after the other, so that they arrive in order.
        """
        if self.in_flight >= self.slots:
            return None
        for place, delivery in enumerate(self.waiting):
            if delivery.attempts or delivery.device_id not in self.busy:
                del self.waiting[place]
                self._begin(delivery)
                return delivery
        return None

    def end(self, delivery: Claimed) -> None:
        """The attempt is over, whatever came of it."""
        self.in_flight -= 1
        self.pool.taken -= 1
        if not delivery.attempts:
            self.busy.discard(delivery.device_id)

    def went_well(self, well: bool) -> None:
        self.slots = min(self.slots + 1, SLOTS_MOST) if well else 1

    def drop_waiting(self) -> None:
        """Throw out what is claimed and not started: it waits in the table as if it never had been."""
        self.more = self.more or bool(self.waiting)
        self.waiting.clear()
        self.epoch += 1

    def enqueue(self) -> None:
        """Stand in line for a slot, once."""
        if self.waiting and not self.queued:
            self.queued = True
            self.pool.ready.append(self)

    def move(self, pool: Pool) -> None:
        """Go to another pool; what is in flight takes its slots there from now on."""
        self.pool.taken -= self.in_flight
        self.pool = pool
        pool.taken += self.in_flight

    def _begin(self, delivery: Claimed) -> None:
        self.in_flight += 1
        self.pool.taken += 1
        if not delivery.attempts:
            self.busy.add(delivery.device_id)


def next_start(pool: Pool) -> "tuple[Lane, Claimed] | None":
    """The next delivery that this pool has a slot for, None when there is none."""
    while pool.free > 0 and pool.ready:
        lane = pool.ready.popleft()
        lane.queued = False
        if lane.pool is not pool:
            lane.enqueue()
            continue
        delivery = lane.take()
        if delivery is not None:
            lane.enqueue()
            return lane, delivery
    return None
