"""Copies of databases for a backup of everything: each is one moment of its database, and is checked before
it counts."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from appliance.model.told import Told
from appliance.store import backup
from appliance.store.backup import BackupFailed, read_only
from appliance.store.database import StoreSettings, connect
from appliance.store.last_stop import sync_file
from appliance.store.migrate import migrate, refuse_newer
from appliance.store.recovery import adjust


class CopyUnusable(Told):
    """The copy cannot take the database's place; the message says why."""


class Kept(msgspec.Struct, frozen=True):
    """A received file that the copy knows, and the device that it came to."""

    device_id: str
    media_id: str


def of_gateway(database: Path, copy: Path) -> None:
    """Copy the gateway's database, without its free pages, while others write to it. Raises BackupFailed."""
    try:
        with contextlib.closing(read_only(database)) as connection:
            connection.execute("VACUUM INTO ?", (str(copy),))
    except sqlite3.Error as error:
        raise BackupFailed(f"the database cannot be copied: {error}") from error
    if (fault := backup.fault_of(copy)) is not None:
        raise BackupFailed(f"the copy of the database did not pass its check: {fault}")


def of_session(database: Path, copy: Path) -> None:
    """Copy a session's database, which the engine's library may be writing to. Raises BackupFailed."""
    try:
        try:
            _page_by_page(read_only(database), copy)
        except sqlite3.OperationalError:
            # A killed worker may have left a change half made; whoever reads must take that back first.
            _page_by_page(
                sqlite3.connect(f"{database.resolve().as_uri()}?mode=rw", uri=True, timeout=10), copy
            )
    except sqlite3.Error as error:
        raise BackupFailed(f"a session cannot be copied: {error}") from error
    if (fault := session_fault(copy)) is not None:
        raise BackupFailed(f"the copy of a session did not pass its check: {fault}")


def session_fault(copy: Path) -> str | None:
    """What is wrong with the copy of a session's database, None when it is whole."""
    try:
        with contextlib.closing(read_only(copy, unchanging=True)) as connection:
            said = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        return str(error)
    return None if said == "ok" else str(said)


def device_ids(copy: Path) -> list[str]:
    """The devices that the copy knows, sandbox ones too."""
    with contextlib.closing(read_only(copy, unchanging=True)) as connection:
        rows = connection.execute("SELECT id FROM devices WHERE account_id IS NOT NULL ORDER BY no")
        return [row[0] for row in rows]


def kept_files(copy: Path) -> Iterator[Kept]:
    """The received files that should be on disk, one by one: there may be very many."""
    with contextlib.closing(read_only(copy, unchanging=True)) as connection:
        for row in connection.execute("SELECT device_id, id FROM media WHERE state = 'stored'"):
            yield Kept(*row)


def check(copy: Path, backups_of: Path) -> None:
    """Look whether this version can go on from the copy; `backups_of` is the database that it would replace.
    Raises CopyUnusable, SchemaTooNew."""
    try:
        refuse_newer(copy, backups_of)
    except sqlite3.Error as error:
        raise CopyUnusable(f"the database in the backup cannot be read: {error}") from error
    if (fault := backup.fault_of(copy)) is not None:
        raise CopyUnusable(f"the database in the backup is damaged: {fault}")


def go_on_from(copy: Path, settings: StoreSettings, now_ms: int) -> None:
    """Bring the copy up to date and make it safe to go on from, as after any loss: see `adjust`. When this
    returns it is on disk. Raises CopyUnusable, UpgradeRefused, OSError."""
    try:
        migrate(copy, settings)
        with contextlib.closing(connect(copy, settings)) as connection:
            adjust(connection, now_ms)
    except sqlite3.Error as error:
        raise CopyUnusable(f"the database in the backup cannot be brought up to date: {error}") from error
    sync_file(copy)


def _page_by_page(source: sqlite3.Connection, copy: Path) -> None:
    with contextlib.closing(source), contextlib.closing(sqlite3.connect(copy)) as target:
        target.execute("PRAGMA journal_mode = OFF")
        source.backup(target)
