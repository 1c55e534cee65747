"""Salvage: what can still be read of a damaged database, row by row, into a fresh one.

A table is read in the order of its keys; where a page cannot be read, reading goes on at the nearest key
behind it that can. Rows that break a rule of the schema, or whose own check sum says otherwise, are left
behind.
"""

import contextlib
import logging
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from appliance.store.backup import read_only
from appliance.store.borrowed_schema import copy_with_schema, has_schema

log = logging.getLogger(__name__)

LEFT_BEHIND = {"worker_marks", "browser_sessions", "stream_tickets", "schema_history"}
"""Marks say that an event was applied; what it did may be lost, and applying it again changes nothing that is
there. Logins are asked for again. The fresh schema has a history of its own."""

_LEAST = -(1 << 63)
_FURTHEST = 1 << 61
Row = Sequence[Any]


def salvage(damaged: Path, fresh: sqlite3.Connection) -> dict[str, int]:
    """Copy what can be read into the empty schema of `fresh`; returns the rows copied by table.

    The damaged file and its log are not changed. Raises sqlite3.Error when `fresh` cannot be written.
    """
    fresh.execute("PRAGMA foreign_keys = OFF")
    with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(read_only(damaged)) as source:
        if has_schema(source):
            _copy_all(source, fresh)
    if not _rows(fresh):
        copy = damaged.with_name(f"{damaged.name}.salvage")
        copy_with_schema(damaged, fresh, copy)
        with contextlib.closing(read_only(copy)) as source:
            _copy_all(source, fresh)
        copy.unlink()
    _drop_orphans(fresh)
    fresh.execute("PRAGMA foreign_keys = ON")
    return _rows(fresh)


def _copy_all(source: sqlite3.Connection, fresh: sqlite3.Connection) -> None:
    source.execute("PRAGMA writable_schema = ON")  # a table whose definition is gone must not hide others
    source.text_factory = lambda raw: raw.decode("utf-8", "replace")
    for table, keyed in _tables(fresh):
        _copy(source, fresh, table, keyed=keyed)


def _rows(fresh: sqlite3.Connection) -> dict[str, int]:
    """How many rows each table has; those without any are left out."""
    counted = {
        table: int(fresh.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608
        for table, _ in _tables(fresh)
    }
    return {table: rows for table, rows in counted.items() if rows}


def _tables(fresh: sqlite3.Connection) -> list[tuple[str, bool]]:
    """The tables that hold rows of their own, and whether each has a key in place of a row number."""
    listed = fresh.execute("SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
    return [
        (name, bool(wr)) for name, wr in listed if not name.startswith("sqlite_") and name not in LEFT_BEHIND
    ]


def _copy(source: sqlite3.Connection, fresh: sqlite3.Connection, table: str, *, keyed: bool) -> None:
    known = _columns(source, table)
    names = [name for name in _columns(fresh, table) if name in known]
    if not names:
        return
    rows = _by_key(source, fresh, table, names) if keyed else _by_number(source, table, names)
    insert = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
    fresh.execute("BEGIN")
    for row in rows:
        if table == "events" and not _is_true(names, row):
            continue
        with contextlib.suppress(sqlite3.IntegrityError):
            fresh.execute(insert, tuple(row))
    fresh.execute("COMMIT")


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    with contextlib.suppress(sqlite3.DatabaseError):
        return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    return []


def _by_number(source: sqlite3.Connection, table: str, names: list[str]) -> Iterator[Row]:
    sql = f"SELECT rowid, {', '.join(names)} FROM {table} NOT INDEXED WHERE rowid > ? ORDER BY rowid"  # noqa: S608
    at: int | None = _LEAST
    while at is not None:
        try:
            for row in source.execute(sql, (at,)):
                if row[0] <= at:
                    break  # pages in a circle
                at = int(row[0])
                yield row[1:]
            else:
                return
        except sqlite3.DatabaseError:
            pass
        at = _next_readable(source, sql, at)


def _next_readable(source: sqlite3.Connection, sql: str, at: int) -> int | None:
    """The nearest number above `at` behind which a row, or the end, can be read; None when there is none."""
    low, step = max(at, 0), 1
    while not _is_readable(source, sql, low + step):
        low, step = low + step, step * 2
        if step > _FURTHEST:
            return None
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        if _is_readable(source, sql, middle):
            high = middle
        else:
            low = middle
    return high


def _is_readable(source: sqlite3.Connection, sql: str, at: int) -> bool:
    try:
        row = source.execute(f"{sql} LIMIT 1", (at,)).fetchone()
    except sqlite3.DatabaseError:
        return False
    return row is None or row[0] > at


def _by_key(
    source: sqlite3.Connection, fresh: sqlite3.Connection, table: str, names: list[str]
) -> Iterator[Row]:
    """From both ends up to where it cannot be read; what was met twice is refused by the key."""
    listed = fresh.execute("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", (table,))
    keys = [row[0] for row in listed]
    for direction in ("ASC", "DESC"):
        order = ", ".join(f"{key} {direction}" for key in keys)
        try:
            yield from source.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY {order}")  # noqa: S608
        except sqlite3.DatabaseError:
            continue
        return


def _is_true(names: list[str], row: Row) -> bool:
    """Whether the event's body is what was written: its check sum stands beside it."""
    event = dict(zip(names, row, strict=True))
    return isinstance(event["body"], bytes) and zlib.crc32(event["body"]) == event["crc"]


def _drop_orphans(fresh: sqlite3.Connection) -> None:
    """Delete the rows whose owner was not saved, and then those that hung on them."""
    sql = 'SELECT DISTINCT "table", parent, fkid FROM pragma_foreign_key_check'
    while orphans := fresh.execute(sql).fetchall():
        gone = sum(_drop_orphans_of(fresh, *each) for each in orphans)
        log.warning("salvage_without_owner", extra={"rows": gone})
        if not gone:
            return


def _drop_orphans_of(fresh: sqlite3.Connection, table: str, parent: str, link: int) -> int:
    sql = 'SELECT "from", "to" FROM pragma_foreign_key_list(?) WHERE id = ?'
    column, target = fresh.execute(sql, (table, link)).fetchone()
    return fresh.execute(
        f"DELETE FROM {table} WHERE {column} IS NOT NULL AND {column} NOT IN (SELECT {target} FROM {parent})"  # noqa: S608
    ).rowcount
