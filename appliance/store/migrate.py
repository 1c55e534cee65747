"""The schema's history: numbered SQL files, each applied once in a transaction of its own, with a backup
before."""

import importlib.resources
import logging
import re
import sqlite3
import time
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from appliance.store import backup
from appliance.store.database import StoreSettings, connect

log = logging.getLogger(__name__)
_NUMBERED = re.compile(r"(\d{4})_\w+\.sql\Z")


class SchemaTooNew(Exception):
    """The file was written by a newer version of the gateway; `found` and `known` are schema numbers."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"The database has schema {found}, this version knows {known}. "
            "Start the newer version again, or restore the backup made before the upgrade."
        )


Step = tuple[int, str]


def migrations(folder: Traversable | None = None) -> list[Step]:
    """(number, SQL) in order; the numbers run from 1 without holes. `folder` holds another history than the
    product's."""
    folder = folder or importlib.resources.files("appliance.store") / "migrations"
    found = [(int(m[1]), f.read_text("utf-8")) for f in folder.iterdir() if (m := _NUMBERED.match(f.name))]
    return sorted(found)


def migrate(path: Path, settings: StoreSettings, steps: Sequence[Step] | None = None) -> int:
    """Bring the database up to date, making it if need be; returns its schema number. `steps` are the
    product's when not given. Raises SchemaTooNew, BackupFailed, sqlite3.Error; the database is then as it
    was, or at one of the steps."""
    steps = steps or migrations()
    connection = connect(path, settings)
    try:
        have = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if have > steps[-1][0]:
            raise SchemaTooNew(have, steps[-1][0])
        waiting = [step for step in steps if step[0] > have]
        if have and waiting:
            backup.make(path, time.time_ns() // 1_000_000, f"-before-{waiting[-1][0]}")
        for number, sql in waiting:
            _apply(connection, number, sql)
            log.info("migrated", extra={"schema": number})
        return steps[-1][0]
    finally:
        connection.close()


def _apply(connection: sqlite3.Connection, number: int, sql: str) -> None:
    connection.execute("BEGIN EXCLUSIVE")
    try:
        for statement in _statements(sql):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _statements(sql: str) -> list[str]:
    """The file's statements; `executescript` would commit before its first one."""
    found, statement = [], ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            found.append(statement)
            statement = ""
    return found
