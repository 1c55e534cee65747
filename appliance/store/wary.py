"""A connection to a file that may be damaged.

SQLite quotes the garbled names of a damaged schema in its messages, and `sqlite3` then fails to decode the
message: what should be DatabaseError arrives as UnicodeDecodeError.
"""

import sqlite3
from typing import Any


class WaryConnection(sqlite3.Connection):
    """Raises DatabaseError with SQLITE_CORRUPT where `sqlite3` cannot say what is wrong."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        try:
            return super().execute(sql, parameters)
        except UnicodeDecodeError as error:
            damage = sqlite3.DatabaseError("the schema holds garbled names")
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            damage.sqlite_errorname = "SQLITE_CORRUPT"
            raise damage from error
