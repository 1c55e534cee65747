"""Writes what became of attempts: whatever ended since the last commit goes into the next transaction."""

import asyncio
import logging
from collections.abc import Callable

from appliance.model.errors import GatewayError
from appliance.model.webhook import DeliveryStatus
from appliance.store import delivery_queue, webhooks
from appliance.store.database import Database, Transaction
from appliance.store.delivery_queue import Recorded

log = logging.getLogger(__name__)

GROUP = 256
GATHER_S, CROWD, CROWD_GATHER_S = 0.005, 4, 0.045
"""Results wait this long for company: one commit for several attempts, where a fast receiver makes many. Once
CROWD have come there will be more, and they wait a little longer: each commit writes whole pages."""

PROBE_MS = 13 * 60 * 1000
"""A failing endpoint is tried again after this long at the latest; with the time an attempt takes, within
the promised 15 minutes."""

OUTAGE_MS = 30_000
"""After a shorter failure the backlog keeps its own times: one delivery that a receiver always refuses must
not be sent again each time another one succeeds."""

_TRY_AGAIN_S = 1.0


class DeliveryRecords:
    """Takes results as they come and commits them in groups. `on_committed` is called after a commit that
    left something to be done later."""

    def __init__(self, db: Database, on_committed: Callable[[], None]) -> None:
        self._db = db
        self._on_committed = on_committed
        self._waiting: list[Recorded] = []
        self._unwritten: list[Recorded] = []
        self._unwritable: list[Recorded] = []
        self._more = asyncio.Event()
        self._ending = False

    def add(self, done: Recorded) -> None:
        self._waiting.append(done)
        self._more.set()

    def unwritten(self) -> list[Recorded]:
        """The results that are not yet on disk, or never will be in this life."""
        return [*self._unwritten, *self._waiting, *self._unwritable]

    def end(self) -> None:
        """Let `run` return once everything is written."""
        self._ending = True
        self._more.set()

    async def run(self) -> None:
        while self._waiting or not self._ending:
            await self._more.wait()
            self._more.clear()
            await self._gather()
            self._unwritten, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
            if self._unwritten and await self._write(self._unwritten):
                self._on_committed()
            self._unwritten = []
            if self._waiting:
                self._more.set()

    async def _gather(self) -> None:
        if not self._ending:
            await asyncio.sleep(GATHER_S)
        if CROWD <= len(self._waiting) < GROUP and not self._ending:
            await asyncio.sleep(CROWD_GATHER_S)

    async def _write(self, group: list[Recorded]) -> bool:
        """Whether the commit left something to be done."""
        while True:
            try:
                return await self._db.transaction(lambda tx: write(tx, group), yields=True)
            except GatewayError as error:
                # The disk refuses. The attempts were made: their results are kept until it takes them.
                log.warning("deliveries_not_recorded", extra={"code": error.code, "results": len(group)})
                if self._ending:
                    return False
                await asyncio.sleep(_TRY_AGAIN_S)
            except Exception:
                if len(group) > 1:
                    return any([await self._write([done]) for done in group])
                # In the table it waits as if it had not been tried: it would be, again and again.
                self._unwritable += group
                log.exception("delivery_not_recorded", extra={"delivery_no": group[0].attempt.delivery_no})
                return False


def write(tx: Transaction, group: list[Recorded]) -> bool:
    """Record the attempts, and what the last of them says about each endpoint; True when something is left to
    be done: deliveries to be tried again, or an endpoint that got well and has a backlog."""
    verdicts: dict[str, Recorded] = {}
    for done in group:
        delivery_queue.record(tx, done)
        known = verdicts.get(done.endpoint_id)
        if done.endpoint != "unknown" and (known is None or known.endpoint != "stopped"):
            verdicts[done.endpoint_id] = done
    recovered = [_mark(tx, done) for done in verdicts.values()]
    return any(recovered) or any(done.status is DeliveryStatus.PENDING for done in group)


def _mark(tx: Transaction, done: Recorded) -> bool:
    """True when the endpoint has just got well."""
    ended_at = done.attempt.at + done.attempt.duration_ms
    match done.endpoint:
        case "well":
            return webhooks.mark_well(tx, done.endpoint_id, ended_at - OUTAGE_MS)
        case "failing":
            webhooks.mark_failing(tx, done.endpoint_id, done.attempt.at, ended_at + PROBE_MS)
        case "stopped":
            webhooks.mark_stopped(tx, done.endpoint_id, done.reason or "")
    return False
