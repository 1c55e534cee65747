"""How the last life ended: one small file beside the database, forced to disk at every change.

A clean stop is worth nothing unless it survives the power cut after it, and a start must wipe it out before
the first write. The file also carries the database's size and time of change as they were: whoever touches
the database while nothing runs (a restore by hand, a repair of the file system) makes the stop count as
unclean.
"""

import enum
import os
from pathlib import Path

import msgspec


class LastStop(enum.StrEnum):
    """What is known of the last life."""

    NONE = "none"
    """There was none: this is the first start, or a version before this file."""
    CLEAN = "clean"
    UNCLEAN = "unclean"
    """Killed, crashed, or the power went."""
    SUSPECT = "suspect"
    """It ended because the database was found damaged."""


class _Note(msgspec.Struct, frozen=True):
    how: str
    size: int = 0
    changed_ns: int = 0


def of(database: Path) -> LastStop:
    """How the life before this one ended."""
    try:
        note = msgspec.json.decode(_file(database).read_bytes(), type=_Note)
    except FileNotFoundError:
        return LastStop.NONE
    except (OSError, msgspec.MsgspecError):
        return LastStop.UNCLEAN
    if note.how == LastStop.CLEAN and (note.size, note.changed_ns) != _shape(database):
        return LastStop.UNCLEAN
    return LastStop(note.how) if note.how in set(LastStop) else LastStop.UNCLEAN


def begin(database: Path) -> None:
    """A life begins: until `clean` is called, its end counts as unclean. Raises OSError."""
    _write(database, _Note(LastStop.UNCLEAN))


def clean(database: Path) -> None:
    """The database is closed and everything is in its file. Raises OSError."""
    size, changed_ns = _shape(database)
    _write(database, _Note(LastStop.CLEAN, size, changed_ns))


def suspect(database: Path) -> None:
    """The database was found damaged: the next start checks all of it. Raises OSError."""
    _write(database, _Note(LastStop.SUSPECT))


def sync_file(path: Path) -> None:
    """Force what was written to the file, by whomever, to disk. Raises OSError."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Force the names in the folder to disk. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _file(database: Path) -> Path:
    return database.with_name(f"{database.name}.last-stop")


def _shape(database: Path) -> tuple[int, int]:
    try:
        found = database.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _write(database: Path, note: _Note) -> None:
    path = _file(database)
    draft = path.with_name(f"{path.name}.new")
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(note))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)
