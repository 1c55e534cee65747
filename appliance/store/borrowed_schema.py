"""A damaged database whose table of contents cannot be read, opened by that of a fresh one.

The same migrations make the same tables at the same pages, so that the fresh schema says where each table of
the damaged file begins. Format of the first page: https://www.sqlite.org/fileformat2.html#the_database_header
"""

import contextlib
import shutil
import sqlite3
import struct
from pathlib import Path

from appliance.store.wary import WaryConnection

PAGE_SIZE = 4096
_HEADER = struct.Struct(">16s H 6B 12I 20x 2I")
_LEAF = struct.Struct(">B 3H B")
_TABLE_LEAF = 0x0D
_UTF8 = 1
_SCHEMA_FORMAT = 4


def has_schema(source: sqlite3.Connection) -> bool:
    """Whether the table of contents can be read."""
    try:
        return bool(source.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    except sqlite3.DatabaseError:
        return False


def copy_with_schema(damaged: Path, fresh: sqlite3.Connection, copy: Path) -> None:
    """Make `copy` from the damaged file and its log, with a new first page and the schema of `fresh`. Raises
    OSError, sqlite3.Error."""
    _merged(damaged, copy)
    pages = max(1, copy.stat().st_size // PAGE_SIZE)
    with copy.open("r+b") as file:
        file.truncate(pages * PAGE_SIZE)
        file.write(_first_page(pages))
    sql = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master WHERE rootpage > 0"
    with _opened(copy) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("BEGIN")
        # Rows that begin behind the end of the file would make all of it unreadable.
        for row in fresh.execute(f"{sql} AND rootpage <= ?", (pages,)):
            connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row)
        connection.execute("COMMIT")


def _merged(damaged: Path, copy: Path) -> None:
    """The file with what its log still holds, as far as the log can be read."""
    shutil.copyfile(damaged, copy)
    log_file, log_copy = (path.with_name(f"{path.name}-wal") for path in (damaged, copy))
    if log_file.exists():
        shutil.copyfile(log_file, log_copy)
    with contextlib.suppress(sqlite3.DatabaseError), _opened(copy) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for ending in ("-wal", "-shm"):
        copy.with_name(copy.name + ending).unlink(missing_ok=True)


def _opened(copy: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(copy, isolation_level=None, factory=WaryConnection))


def _first_page(pages: int) -> bytes:
    """A first page that says: this many pages, none free, no tables yet, no log."""
    changed, written_by = 1, 3_040_001
    numbers = (changed, pages, 0, 0, 1, _SCHEMA_FORMAT, 0, 0, _UTF8, 0, 0, 0)
    magic = b"SQLite format 3\0"
    header = _HEADER.pack(magic, PAGE_SIZE, 1, 1, 0, 64, 32, 32, *numbers, changed, written_by)
    return (header + _LEAF.pack(_TABLE_LEAF, 0, 0, PAGE_SIZE, 0)).ljust(PAGE_SIZE, b"\0")
