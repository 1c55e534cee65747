"""Backups: whole copies of the database, each checked before it counts.

A copy is made by VACUUM INTO on a connection of its own that cannot write: the writer goes on meanwhile. It
gets its name only when it is on disk and has passed its check.
"""

import contextlib
import datetime
import re
import shutil
import sqlite3
import threading
from pathlib import Path

import msgspec

from appliance.store.last_stop import sync_file, sync_folder
from appliance.store.wary import WaryConnection

FOLDER = "backups"
_NAME = re.compile(r"gateway-(\d{8}T\d{6}Z)(-[\w-]+)?\.db\Z")
_STAMP = "%Y%m%dT%H%M%SZ"
_STEPS = 20_000
ROOM_FACTOR = 2


class BackupFailed(Exception):
    """No backup was made; the message says why."""


class Backup(msgspec.Struct, frozen=True):
    """A finished backup: its file, when it was made (ms since 1970, from its name), its size in bytes."""

    path: Path
    at: int
    size: int


def folder_of(database: Path) -> Path:
    """Where the database's backups are kept."""
    return database.with_name(FOLDER)


def stamp(now_ms: int) -> str:
    """The time as it stands in file names, UTC, to the second."""
    return datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC).strftime(_STAMP)


def stored(database: Path) -> list[Backup]:
    """The backups there are, newest first; those made before a migration too."""
    folder = folder_of(database)
    found = [(m[1], path) for path in folder.glob("*.db") if (m := _NAME.match(path.name))]
    return [
        Backup(path, _ms(at), path.stat().st_size)
        for at, path in sorted(found, key=lambda each: (each[0], each[1].name), reverse=True)
    ]


def make(database: Path, now_ms: int, suffix: str = "", stop: threading.Event | None = None) -> Backup:
    """Copy the database as it is at this moment; `suffix` marks a backup that was made for a reason.

    Takes seconds for each 100 MiB; `stop` ends it early. Raises BackupFailed, after which nothing is left.
    """
    folder = folder_of(database)
    final = folder / f"gateway-{stamp(now_ms)}{suffix}.db"
    draft = final.with_suffix(".new")
    try:
        _prepare(folder, database)
        _copy(database, draft, stop or threading.Event())
        _settle(draft, final)
        return Backup(final, now_ms, final.stat().st_size)
    except (OSError, sqlite3.Error) as error:
        raise BackupFailed(f"{type(error).__name__}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def rotate(database: Path, keep: int, newest: Backup) -> int:
    """Delete the oldest so that `keep` stay, and never `newest`, whatever the clock said; returns how many
    went."""
    others = [backup for backup in stored(database) if backup.path != newest.path]
    gone = others[max(0, keep - 1) :]
    for backup in gone:
        backup.path.unlink()
    return len(gone)


def fault_of(copy: Path) -> str | None:
    """What is wrong with the copy, None when it is a whole database. Nobody may be writing to it."""
    try:
        with contextlib.closing(read_only(copy, unchanging=True)) as connection:
            said = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if connection.execute("PRAGMA user_version").fetchone()[0] < 1:
                return "it has no schema"
    except sqlite3.Error as error:
        return str(error)
    return None if said == "ok" else str(said)


def schema_of(copy: Path) -> int:
    """The number of its schema. Raises sqlite3.Error."""
    with contextlib.closing(read_only(copy)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def read_only(path: Path, *, unchanging: bool = False) -> sqlite3.Connection:
    """A connection that cannot change the file, not even by tidying up its log; `unchanging` also leaves the
    log unread. Raises sqlite3.Error."""
    uri = f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if unchanging else ''}"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, factory=WaryConnection
    )
    connection.execute("PRAGMA busy_timeout = 10000")
    return connection


def _prepare(folder: Path, database: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    for left in folder.glob("*.new*"):
        left.unlink()
    log_file = database.with_name(f"{database.name}-wal")
    size = database.stat().st_size + (log_file.stat().st_size if log_file.exists() else 0)
    free = shutil.disk_usage(folder).free
    if free < ROOM_FACTOR * size:
        raise BackupFailed(f"the disk has {free} bytes left, and {ROOM_FACTOR} times {size} are wanted")


def _copy(database: Path, draft: Path, stop: threading.Event) -> None:
    with contextlib.closing(read_only(database)) as connection:
        connection.set_progress_handler(stop.is_set, _STEPS)
        connection.execute("VACUUM INTO ?", (str(draft),))


def _settle(draft: Path, final: Path) -> None:
    draft.chmod(0o600)
    if (fault := fault_of(draft)) is not None:
        raise BackupFailed(f"the copy did not pass its check: {fault}")
    sync_file(draft)
    draft.replace(final)
    sync_folder(final.parent)


def _ms(at: str) -> int:
    moment = datetime.datetime.strptime(at, _STAMP).replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() * 1000)
