"""What runs here and how much room it has: versions, files, backups and the log's end, for administrators."""

import asyncio
import resource
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from appliance.gateway.backups import Backups
from appliance.gateway.store_care import StoreState
from appliance.model.clock import Clock
from appliance.store import backup
from appliance.store.backup import Backup

_KIB = 1024


class Room(msgspec.Struct, frozen=True):
    """Bytes: of the disk, of the database and its log, and the most memory this process has used."""

    disk_free: int
    disk_total: int
    database: int
    wal: int
    memory_most: int


class Installation:
    """Asks the machine, and makes a backup when it is told to.

    `started_at` is ms since 1970; `state` says how the store stands; `log_lines` gives the newest of the log,
    oldest first, once whoever configured the log has set it.
    """

    def __init__(
        self,
        versions: Mapping[str, str],
        database: Path,
        clock: Clock,
        backups: Backups,
        state: Callable[[], StoreState],
    ) -> None:
        self.versions = versions
        self.started_at = clock.now_ms()
        self.state = state
        self.log_lines: Callable[[], list[str]] = list
        self._database = database
        self._backups = backups
        self._making: asyncio.Task[bool] | None = None

    @property
    def folder(self) -> Path:
        """The data directory."""
        return self._database.parent

    @property
    def is_backing_up(self) -> bool:
        return self._making is not None and not self._making.done()

    def back_up(self) -> None:
        """Begin a backup, unless one is being made that was asked for before."""
        if not self.is_backing_up:
            self._making = asyncio.create_task(self._backups.make(), name="backup-now")

    async def room(self) -> Room:
        return await asyncio.to_thread(self._room)

    async def stored_backups(self) -> list[Backup]:
        """The backups there are, newest first."""
        return await asyncio.to_thread(backup.stored, self._database)

    def _room(self) -> Room:
        disk = shutil.disk_usage(self.folder)
        wal = self._database.with_name(self._database.name + "-wal")
        return Room(
            disk_free=disk.free,
            disk_total=disk.total,
            database=self._database.stat().st_size,
            wal=wal.stat().st_size if wal.exists() else 0,
            memory_most=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB,
        )
