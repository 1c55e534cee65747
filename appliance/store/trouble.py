"""What SQLite's errors mean to us: which of them the caller caused, and which say that the disk cannot be
trusted.

Codes: https://www.sqlite.org/rescode.html. The low byte is the kind, the rest says where it happened.
"""

import enum
import sqlite3


class Trouble(enum.Enum):
    """What is wrong, when it is not the statement."""

    FULL = "full"
    """No room. SQLite has undone the change by itself; the connection is as good as before."""
    BUSY = "busy"
    """Another process holds the file."""
    IO = "io"
    """A read, write or fsync failed. What the connection remembers of the file may not be what is on disk:
    after a failed fsync the kernel calls the lost pages clean (danluu.com/fsyncgate)."""
    CORRUPT = "corrupt"
    """The file does not say what a database says."""


_KINDS = {
    sqlite3.SQLITE_FULL: Trouble.FULL,
    sqlite3.SQLITE_BUSY: Trouble.BUSY,
    sqlite3.SQLITE_LOCKED: Trouble.BUSY,
    sqlite3.SQLITE_PROTOCOL: Trouble.BUSY,
    sqlite3.SQLITE_IOERR: Trouble.IO,
    sqlite3.SQLITE_CANTOPEN: Trouble.IO,
    sqlite3.SQLITE_READONLY: Trouble.IO,
    sqlite3.SQLITE_CORRUPT: Trouble.CORRUPT,
    sqlite3.SQLITE_NOTADB: Trouble.CORRUPT,
}


class NotWritten(Exception):
    """A group of changes failed as one. `outcome_known` is False when it cannot be said whether a later start
    will find the changes: the commit failed, and so did writing over it."""

    def __init__(self, trouble: Trouble | None, text: str, *, outcome_known: bool = True) -> None:
        super().__init__(text)
        self.trouble = trouble
        self.outcome_known = outcome_known


def trouble_of(error: BaseException) -> Trouble | None:
    """What the error says about the disk or the file; None: it is the statement's or the caller's."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return _KINDS.get(code & 0xFF) if isinstance(error, sqlite3.Error) else None
