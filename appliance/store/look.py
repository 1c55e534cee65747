"""A look at a database that nobody runs on: is it whole, how many devices are in it. Nothing is changed."""

import contextlib
import sqlite3
from pathlib import Path

import msgspec

from appliance.store import opening
from appliance.store.backup import read_only

_WAL_BUG_FROM, _WAL_BUG_UNTIL = (3, 7, 0), (3, 51, 3)
_MENDED_BRANCHES = {(3, 44): 6, (3, 50): 7}
"""Patch releases of older branches from which on it is mended too."""


class Look(msgspec.Struct, frozen=True):
    """What was seen: `damage` is what quick_check says, None when the file is whole."""

    damage: str | None
    devices: int


def look(database: Path) -> Look:
    """Look at the database. Takes about a second for each 256 MiB. Raises OSError when it cannot be read."""
    try:
        if (damage := opening.damage_of(database, whole=False)) is not None:
            return Look(damage, 0)
        with contextlib.closing(read_only(database)) as connection:
            (devices,) = connection.execute("SELECT count(*) FROM devices").fetchone()
        return Look(None, int(devices))
    except sqlite3.Error as error:
        raise OSError(0, str(error)) from error


def has_accounts(database: Path) -> bool:
    """Whether anybody has registered. Raises sqlite3.Error."""
    with contextlib.closing(read_only(database)) as connection:
        return connection.execute("SELECT 1 FROM accounts LIMIT 1").fetchone() is not None


def has_wal_reset_bug(version: str) -> bool:
    """Whether that SQLite may lose a commit when two connections write or checkpoint at the same moment:
    https://www.sqlite.org/wal.html#walresetbug"""
    number = tuple(int(part) for part in version.split("."))
    if not _WAL_BUG_FROM <= number < _WAL_BUG_UNTIL:
        return False
    mended = _MENDED_BRANCHES.get((number[0], number[1]))
    return mended is None or number[2] < mended
