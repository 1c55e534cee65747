"""Retention: what is too old to be needed goes, and what is too much, a little at a time."""

import asyncio
import contextlib
import functools
import logging
from typing import Annotated

import msgspec

from appliance.gateway.clock import JumpWatch
from appliance.gateway.media import Media
from appliance.gateway.pace import Pace
from appliance.model.clock import Clock
from appliance.model.errors import StorageFull
from appliance.store import events, expiry, figures
from appliance.store.database import Database, StoreError, Transaction

log = logging.getLogger(__name__)

EVERY_S = 600.0
HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS
MIB = 1024 * 1024
SPARE_SHARE, SPARE_BYTES = 10, 4 * MIB
"""Free room in the file that is kept for what comes next: a tenth of it, and never less than that."""
STEADY_S = 6 * 3600.0
"""So long nothing is deleted by a clock that was just set, or that is far from what the store last saw: one
that is wrong by years would take everything at once."""
FAR_MS = 7 * DAY_MS


class RetentionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days that events and finished deliveries, and messages, are kept; 0 keeps messages for ever. `max_mib`
    bounds what the database holds; 0 does not."""

    events_days: Annotated[int, msgspec.Meta(ge=1)] = 30
    messages_days: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_mib: Annotated[int, msgspec.Meta(ge=0)] = 0


class Retention:
    """Deletes a few rows at a time, so that no send waits behind it."""

    def __init__(self, db: Database, clock: Clock, settings: RetentionSettings, media: Media) -> None:
        self._db = db
        self._clock = clock
        self._settings = settings
        self._media = media
        self._pace = Pace(db)
        self._watch = JumpWatch(clock)
        self._believed_from = 0.0

    def use(self, settings: RetentionSettings) -> None:
        """Go by these settings from the next sweep on."""
        self._settings = settings

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
        """Delete what is old enough and what is too much, give free room back; returns how many rows went."""
        days = self._settings.messages_days
        await self._media.sweep_old(self._clock.now_ms() - days * DAY_MS if days > 0 else None)
        total = 0
        while gone := await self._pace.run(self._aged):
            total += gone
        total += await self._fit()
        await self._give_back()
        if total:
            log.info("retention", extra={"rows": total})
        return total

    def _aged(self, tx: Transaction, rows: int) -> int:
        now = self._clock.now_ms()
        gone = expiry.short_lived(tx, now, rows)
        gone += _told(tx, rows, now - self._settings.events_days * DAY_MS)
        if self._settings.messages_days > 0:
            gone += expiry.messages(tx, now - self._settings.messages_days * DAY_MS, rows)
        return gone

    async def _fit(self) -> int:
        """Delete the oldest until the rest fits: first what was told, then messages; what is from the last
        day goes only when that is not enough, what is from the last hour never."""
        most = self._settings.max_mib * MIB
        if not most:
            return 0
        total = 0
        for kept_ms in (DAY_MS, HOUR_MS):
            before = self._clock.now_ms() - kept_ms
            for oldest in (_told, _written):
                total += await self._fit_by(most, functools.partial(oldest, before=before))
        if (used := await self._used()) > most:
            log.warning("retention_over_limit", extra={"mib": used // MIB})
        return total

    async def _fit_by(self, most: int, oldest: "functools.partial[int]") -> int:
        total = 0
        while await self._used() > most and (gone := await self._pace.run(oldest)):
            total += gone
        return total

    async def _used(self) -> int:
        return (await self._db.reader.all(figures.room()))[0].used

    async def _give_back(self) -> None:
        """Let the file shrink when much of it is free."""
        [room] = await self._db.reader.all(figures.room())
        if room.free > max(SPARE_BYTES, room.file // SPARE_SHARE):
            spare = max(SPARE_BYTES, room.file // SPARE_SHARE) // 2
            while await self._pace.run(functools.partial(_shrink, spare=spare)):
                pass
            log.info("file_shrunk", extra={"from_mib": room.file // MIB})


def _told(tx: Transaction, rows: int, before: int) -> int:
    """Deliveries that ended before then, and events that no delivery needs."""
    gone = expiry.deliveries(tx, before, rows)
    aged = tx.all(events.aged(before, rows))
    events.delete(tx, aged)
    return gone + len(aged)


def _written(tx: Transaction, rows: int, before: int) -> int:
    return expiry.messages(tx, before, rows)


def _shrink(tx: Transaction, rows: int, spare: int) -> int:
    """Give so many pages back, unless no more than `spare` bytes are free; returns how many."""
    [room] = tx.all(figures.room())
    return expiry.give_back(tx, min(rows, (room.free - spare) // room.page))
