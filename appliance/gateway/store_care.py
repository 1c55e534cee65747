"""Care of the store: the check that a start did not wait for, the ballast that comes back when there is room,
and how all of it stands, for whoever looks after the gateway."""

import asyncio
import logging

import msgspec

from appliance.gateway.backups import Backups
from appliance.model.errors import StorageFull
from appliance.store import opening
from appliance.store.database import Database
from appliance.store.opening import Opening
from appliance.store.recovery import Recovery, last_recovery

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0


class RecoveryNote(msgspec.Struct, frozen=True, rename="camel"):
    """A damaged database was replaced: when and from where. `backup_at` is the age of what was restored."""

    at: int
    road: str
    backup_at: int | None
    rows: int


class BackupNote(msgspec.Struct, frozen=True, rename="camel"):
    at: int
    size: int


class StoreState(msgspec.Struct, frozen=True, rename="camel"):
    """How the store stands. `last_stop` is how the life before this one ended; `check` is `running` while a
    large database is checked after an unclean stop; `recovery` stays until its evidence is removed."""

    last_stop: str
    check: str
    disk_low: bool
    backup_failed: bool
    backup: BackupNote | None
    recovery: RecoveryNote | None

    @property
    def is_well(self) -> bool:
        return not self.disk_low and not self.backup_failed and self.recovery is None


class StoreCare:
    """Runs beside the store for the whole life of the gateway."""

    def __init__(self, db: Database, opened: Opening, backups: Backups) -> None:
        self._db = db
        self._opened = opened
        self._ballast = db.ballast
        self._backups = backups
        self._checking = opened.check_later
        self._recovery = opened.recovery or last_recovery(db.path)

    async def run(self) -> None:
        """For ever; damage found is told to the database, which ends the life."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_room(), name="room")
            if self._opened.check_later:
                group.create_task(self._check(), name="check")

    def refuse_when_low(self) -> None:
        """Raises StorageFull while the disk has no reserve: what was accepted before needs the rest."""
        if not self._ballast.is_held:
            raise StorageFull("The disk is nearly full. New messages are taken again once there is room.")

    def state(self) -> StoreState:
        newest = self._backups.newest
        return StoreState(
            last_stop=self._opened.last_stop.value,
            check="running" if self._checking else "done",
            disk_low=not self._ballast.is_held,
            backup_failed=self._backups.failed,
            backup=None if newest is None else BackupNote(newest.at, newest.size),
            recovery=_note(self._recovery),
        )

    async def _watch_room(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if not self._ballast.is_held and await asyncio.to_thread(self._ballast.take):
                log.warning("disk_has_room_again")

    async def _check(self) -> None:
        log.warning("store_check_in_background")
        damage = await asyncio.to_thread(opening.damage_of, self._db.path, whole=False)
        if damage is not None:
            log.error("database_damaged", extra={"reason": damage})
            self._db.condemn(damage)
            return
        self._checking = False
        log.warning("store_check_passed")


def _note(recovery: Recovery | None) -> RecoveryNote | None:
    if recovery is None:
        return None
    rows = sum(recovery.rows.values())
    return RecoveryNote(recovery.at, recovery.road.value, recovery.backup_at, rows)
