"""What runs here and how much room it has: versions, files, backups and the log's end, for administrators."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from appliance.gateway import processes
from appliance.gateway.backups import Backups
from appliance.gateway.store_care import StoreState
from appliance.model.clock import Clock
from appliance.store import backup
from appliance.store.backup import Backup

Source = Literal["files", "ordered", "stand_in"]


class Room(msgspec.Struct, frozen=True):
    """Bytes: of the disk, of the database and its log, and the most memory this process has used."""

    disk_free: int
    disk_total: int
    database: int
    wal: int
    memory_most: int


class ReloadNote(msgspec.Struct, frozen=True):
    """The configuration was read again: the settings that are used now, and those that a restart takes up;
    with a `problem` nothing was changed."""

    at: int
    applied: list[str] = []
    waiting: list[str] = []
    problem: str = ""


class CertificateState(msgspec.Struct, frozen=True):
    """What https is served with: somebody's `files`, an `ordered` certificate, or a `stand_in` that no
    browser trusts until the first one has come. `problem` is why it could not be renewed or replaced."""

    source: Source
    expires_at: int
    ends_soon: bool = False
    problem: str | None = None

    @property
    def is_well(self) -> bool:
        return self.problem is None and not self.ends_soon and self.source != "stand_in"


class Installation:
    """Asks the machine, and makes a backup or reads the configuration again when it is told to.

    `started_at` is ms since 1970; `state` says how the store stands. What only the composition root knows is
    set by it: `log_lines` gives the newest of the log, oldest first; `certificate` what https is served with;
    `reload` reads the configuration again, `reloaded` tells what came of it.
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
        self.certificate: Callable[[], CertificateState | None] = lambda: None
        self.reload: Callable[[], Awaitable[None]] | None = None
        self.reloaded: Callable[[], ReloadNote | None] = lambda: None
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
            memory_most=processes.memory_most(),
        )
