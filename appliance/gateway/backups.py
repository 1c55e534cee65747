"""Backups by themselves: one a day beside the running gateway, the newest few kept."""

import asyncio
import logging
import threading
from pathlib import Path
from typing import Annotated

import msgspec

from appliance.model.clock import Clock
from appliance.store import backup
from appliance.store.backup import Backup, BackupFailed

log = logging.getLogger(__name__)

DAY_S = 24 * 3600.0
FIRST_AFTER_S = 300.0
"""A start has other things to do, and a gateway that ends soon should not copy its database."""
AGAIN_AFTER_S = 3600.0


class BackupSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`daily` makes a backup of the database every day; `keep` of them are kept. `passphrase` is for the
    commands that back up everything and restore it."""

    daily: bool = True
    keep: Annotated[int, msgspec.Meta(ge=1)] = 7
    passphrase: str | None = None


class Backups:
    """Makes backups of the database when they are due. `newest` is the newest there is, `failed` whether the
    last attempt of this life failed."""

    def __init__(self, database: Path, clock: Clock, settings: BackupSettings) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self.newest: Backup | None = None
        self.failed = False

    def use(self, settings: BackupSettings) -> None:
        """Go by these settings from the next backup on."""
        self._settings = settings

    async def run(self) -> None:
        """Make one whenever the newest is a day old, for ever."""
        self._look()
        pause_s = max(FIRST_AFTER_S, self._due_in_s())
        while True:
            await asyncio.sleep(pause_s)
            pause_s = DAY_S
            if self._settings.daily and not await self.make():
                pause_s = AGAIN_AFTER_S

    async def make(self) -> bool:
        """Make one now and delete the oldest; whether that succeeded. The writer goes on meanwhile."""
        stop = threading.Event()
        work = asyncio.to_thread(self._make, stop)
        try:
            self.newest = await work
            self.failed = False
        except (BackupFailed, OSError) as error:
            self.failed = True
            log.error("backup_failed", extra={"reason": str(error)})
        finally:
            stop.set()  # cancelled: the copy ends, so that the stop need not wait for it
        return not self.failed

    def _make(self, stop: threading.Event) -> Backup:
        started = self._clock.monotonic()
        made = backup.make(self._database, self._clock.now_ms(), stop=stop)
        gone = backup.rotate(self._database, self._settings.keep, made)
        took_ms = int((self._clock.monotonic() - started) * 1000)
        log.info("backup_made", extra={"bytes": made.size, "ms": took_ms, "deleted": gone})
        return made

    def _look(self) -> None:
        self.newest = next(iter(backup.stored(self._database)), None)

    def _due_in_s(self) -> float:
        """Seconds until the next is due; a backup from the future says that the clock was wrong once."""
        if self.newest is None:
            return 0
        age_s = (self._clock.now_ms() - self.newest.at) / 1000
        return DAY_S - age_s if 0 <= age_s < DAY_S else 0
