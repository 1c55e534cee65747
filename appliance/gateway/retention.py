"""Retention: what is too old to be needed goes, a little at a time."""

import asyncio
import contextlib
import logging
from typing import Annotated

import msgspec

from appliance.gateway.clock import JumpWatch
from appliance.gateway.media import Media
from appliance.model.clock import Clock
from appliance.model.errors import StorageFull
from appliance.store import events, expiry
from appliance.store.database import Database, StoreError, Transaction

log = logging.getLogger(__name__)

EVERY_S = 600.0
GROUP = 500
DAY_MS = 24 * 3600 * 1000
STEADY_S = 6 * 3600.0
"""So long nothing is deleted by a clock that was just set, or that is far from what the store last saw: one
that is wrong by years would take everything at once."""
FAR_MS = 7 * DAY_MS


class RetentionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days that events and finished deliveries, and messages, are kept. 0 keeps messages for ever."""

    events_days: Annotated[int, msgspec.Meta(ge=1)] = 30
    messages_days: Annotated[int, msgspec.Meta(ge=0)] = 0


class Retention:
    """Deletes in groups, so that no send waits behind it."""

    def __init__(self, db: Database, clock: Clock, settings: RetentionSettings, media: Media) -> None:
        self._db = db
        self._clock = clock
        self._settings = settings
        self._media = media
        self._watch = JumpWatch(clock)
        self._believed_from = 0.0

    async def run(self) -> None:
        """Sweep now and then, for ever; a full disk is tried again at the next sweep."""
        if await self._is_far():
            self._doubt("far_from_last_event")
        while True:
            if self.clock_is_believed():
                with contextlib.suppress(StorageFull, StoreError):
                    await self.sweep()
            await asyncio.sleep(EVERY_S)

    def clock_is_believed(self) -> bool:
        """Whether the clock may say what is old: it has not been set for a while."""
        if self._watch.look():
            self._doubt("was_set")
        return self._clock.monotonic() >= self._believed_from

    async def _is_far(self) -> bool:
        newest = await self._db.reader.one(events.newest_at())
        return newest is not None and abs(self._clock.now_ms() - newest) > FAR_MS

    def _doubt(self, reason: str) -> None:
        self._believed_from = self._clock.monotonic() + STEADY_S
        log.warning("retention_waits_for_clock", extra={"reason": reason, "for_s": int(STEADY_S)})

    async def sweep(self) -> int:
        """Delete everything that is old enough; returns how many rows went."""
        days = self._settings.messages_days
        await self._media.sweep_old(self._clock.now_ms() - days * DAY_MS if days > 0 else None)
        total = 0
        while gone := await self._db.transaction(self._some):
            total += gone
        if total:
            log.info("retention", extra={"rows": total})
        return total

    def _some(self, tx: Transaction) -> int:
        now = self._clock.now_ms()
        gone = expiry.short_lived(tx, now, GROUP)
        before = now - self._settings.events_days * DAY_MS
        gone += expiry.deliveries(tx, before, GROUP)
        aged = tx.all(events.aged(before, GROUP))
        events.delete(tx, aged)
        if self._settings.messages_days > 0:
            gone += expiry.messages(tx, now - self._settings.messages_days * DAY_MS, GROUP)
        return gone + len(aged)
