"""Recovery: a damaged database is set aside, never deleted; the newest good backup takes its place, or what
can be salvaged, or an empty one.

The replacement is made complete beside the database first. From the moment it has its name, a start that
finds it carries the exchange to its end, however often it is interrupted.
"""

import contextlib
import enum
import logging
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from appliance.store import backup
from appliance.store.database import StoreSettings, connect
from appliance.store.last_stop import sync_file, sync_folder
from appliance.store.migrate import migrate, migrations
from appliance.store.salvage import salvage

log = logging.getLogger(__name__)

NUMBERS_AHEAD = 1_000_000_000
"""How far the numbers of events, messages and deliveries jump: further than any gateway counts between two
backups. The clock in milliseconds serves if it is further still, so that a second restore of the same backup
does not give numbers again that were given after the first. Both stay far below 2^53."""


class Road(enum.StrEnum):
    """Where the database that is used now came from."""

    RESTORED = "restored"
    SALVAGED = "salvaged"
    EMPTY = "empty"
    CUT = "cut"
    """It is the same file; its log had a hole, and the commits behind it are lost."""


class Recovery(msgspec.Struct, frozen=True, rename="camel"):
    """What was done and when (ms since 1970): the `reason`, the backup taken, the rows salvaged by table."""

    at: int
    road: Road
    reason: str
    backup: str | None = None
    backup_at: int | None = None
    rows: dict[str, int] = {}


class _Names(NamedTuple):
    """The files beside the database that take part."""

    draft: Path
    ready: Path
    aside: Path
    report: Path


def recover(database: Path, settings: StoreSettings, reason: str) -> Recovery:
    """Replace the damaged database; returns what was done. Raises OSError, sqlite3.Error when the replacement
    cannot be written: nothing has changed then."""
    now_ms = time.time_ns() // 1_000_000
    names = _names(database, now_ms)
    _remove(names.draft)
    recovery = _build(database, names.draft, settings, reason, now_ms)
    _write_durably(names.report, msgspec.json.encode(recovery))
    names.draft.replace(names.ready)
    sync_folder(database.parent)
    finish(database)
    log.error(
        "database_recovered",
        extra={
            "road": recovery.road.value,
            "reason": reason,
            "backup": recovery.backup,
            "rows": sum(recovery.rows.values()),
            "set_aside": names.aside.name,
        },
    )
    return recovery


def accept_cut(database: Path, settings: StoreSettings, log_file: Path, reason: str) -> Recovery:
    """Go on from where a damaged log ends: its copy is kept, and the state is made safe like any older one.
    Raises OSError, sqlite3.Error."""
    now_ms = time.time_ns() // 1_000_000
    names = _names(database, now_ms)
    copy = names.aside.with_name(names.aside.name + "-wal")
    shutil.copyfile(log_file, copy)
    migrate(database, settings)
    with contextlib.closing(connect(database, settings)) as connection:
        adjust(connection, now_ms)
    recovery = Recovery(now_ms, Road.CUT, reason)
    _write_durably(names.report, msgspec.json.encode(recovery))
    log.error("log_damaged", extra={"reason": reason, "copy": copy.name})
    return recovery


def finish(database: Path) -> bool:
    """Put a finished replacement in the database's place; False when there is none. Raises OSError."""
    names = _names(database, time.time_ns() // 1_000_000)
    if not names.ready.exists():
        return False
    for ending in ("-wal", "-shm", ""):
        part = database.with_name(database.name + ending)
        if part.exists():
            part.rename(names.aside.with_name(names.aside.name + ending))
    sync_folder(database.parent)
    names.ready.replace(database)
    sync_folder(database.parent)
    return True


def last_recovery(database: Path) -> Recovery | None:
    """The newest recovery whose evidence still lies there; None when there is none."""
    reports = sorted(database.parent.glob(f"{database.name}.corrupt-*.json"))
    for report in reversed(reports):
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode(report.read_bytes(), type=Recovery)
    return None


def _names(database: Path, now_ms: int) -> _Names:
    aside = f"{database.name}.corrupt-{backup.stamp(now_ms)}"
    return _Names(
        *(
            database.with_name(n)
            for n in (f"{database.name}.draft", f"{database.name}.ready", aside, aside + ".json")
        )
    )


def _build(database: Path, draft: Path, settings: StoreSettings, reason: str, now_ms: int) -> Recovery:
    taken = _restored(database, draft)
    rows: dict[str, int] = {}
    if taken is None:
        _make_schema(draft, settings, _schema_of(database))
        with contextlib.closing(connect(draft, settings)) as fresh:
            # SQLite deletes the log of an empty file as soon as it looks at it: the log is evidence.
            rows = salvage(database, fresh) if database.exists() and database.stat().st_size else {}
    migrate(draft, settings)
    with contextlib.closing(connect(draft, settings)) as connection:
        adjust(connection, now_ms)
    sync_file(draft)
    if taken is not None:
        return Recovery(now_ms, Road.RESTORED, reason, taken.path.name, taken.at)
    return Recovery(now_ms, Road.SALVAGED if rows else Road.EMPTY, reason, rows=rows)


def _restored(database: Path, draft: Path) -> backup.Backup | None:
    """Copy the newest backup that is good and that this version can read."""
    for candidate in backup.stored(database):
        fault = backup.fault_of(candidate.path)
        if fault is None and backup.schema_of(candidate.path) <= migrations()[-1][0]:
            shutil.copyfile(candidate.path, draft)
            return candidate
        log.error("backup_unusable", extra={"backup": candidate.path.name, "fault": fault or "newer schema"})
    return None


def _make_schema(draft: Path, settings: StoreSettings, version: int) -> None:
    known = [step for step in migrations() if step[0] <= version]
    migrate(draft, settings, known or None)


def _schema_of(damaged: Path) -> int:
    """The schema that the damaged file has, 0 when it cannot be read."""
    if not damaged.exists() or not damaged.stat().st_size:
        return 0
    try:
        return backup.schema_of(damaged)
    except (sqlite3.Error, OSError):
        return 0


def adjust(connection: sqlite3.Connection, now_ms: int) -> None:
    """Make an older state safe to go on from. Raises sqlite3.Error.

    No number is given twice. Every follower is told that events are missing. A message that waited may have
    been sent since: it counts as interrupted, and is told as unconfirmed. Logins may have been ended since,
    and links for a new password used.
    """
    connection.execute("BEGIN IMMEDIATE")
    counted = connection.execute("SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'").fetchall()
    for (table,) in counted:
        found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        ahead = max((found[0] if found else 0) + NUMBERS_AHEAD, now_ms)
        connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, ahead))
    connection.execute(
        "INSERT INTO event_floors (account_id, no) SELECT a.id, s.seq FROM accounts a, sqlite_sequence s "
        "WHERE s.name = 'events' ON CONFLICT (account_id) DO UPDATE SET no = excluded.no"
    )
    connection.execute("UPDATE messages SET status = 'sending' WHERE status = 'queued'")
    connection.execute("DELETE FROM browser_sessions")
    connection.execute("DELETE FROM stream_tickets")
    connection.execute("DELETE FROM invites WHERE account_id IS NOT NULL")
    connection.execute("COMMIT")


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _remove(draft: Path) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        draft.with_name(draft.name + ending).unlink(missing_ok=True)
