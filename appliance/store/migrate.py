"""The schema's history: numbered SQL files, each applied once in a transaction of its own, with a backup
before. The database remembers which version of the gateway applied which."""

import contextlib
import importlib.resources
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from appliance import __version__
from appliance.model.told import Told
from appliance.store import backup
from appliance.store.database import StoreSettings, connect

log = logging.getLogger(__name__)
_NUMBERED = re.compile(r"(\d{4})_\w+\.sql\Z")

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES, _NUMBER_AT = 100, 60

TELL_EVERY_S = 5.0
"""How often a long upgrade says that it is still at work."""

# Of the machinery, not of the history: it stands in every database whatever the steps are.
_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_history (
    number INTEGER PRIMARY KEY, version TEXT NOT NULL, applied_at INTEGER NOT NULL
) STRICT"""


class SchemaTooNew(Told):
    """The file was changed by a newer version of the gateway; `found` and `known` are schema numbers,
    `version` is that of the gateway that made the schema, `way_back` the newest backup that this one can
    read; both None when there is none."""

    def __init__(self, found: int, known: int, version: str | None, way_back: Path | None) -> None:
        self.found, self.known = found, known
        self.version, self.way_back = version, way_back
        writer = f"WA Gateway {version}" if version else "a newer WA Gateway"
        super().__init__(
            f"This database was last changed by {writer} (schema {found}); "
            f"this is {__version__}, which knows schema {known}. "
            f"Start {f'{version} or newer' if version else 'the newer version'} again"
            + (f", or go back to the backup {way_back}: {_GO_BACK}" if way_back else ".")
        )


_GO_BACK = (
    "move gateway.db, gateway.db-wal and gateway.db-shm out of the data directory and start this version; "
    "what came after that backup is then missing."
)


class UpgradeRefused(Told):
    """The schema has to change and nothing was changed, because there is no backup to go back to; the message
    says why."""

    def __init__(self, have: int, wanted: int, reason: str) -> None:
        super().__init__(
            f"This version changes the database (schema {have} to {wanted}), and the backup before failed: "
            f"{reason}. Nothing was changed. Mend that and start again, or start the version before."
        )


Step = tuple[int, str]


def migrations(folder: Traversable | None = None) -> list[Step]:
    """(number, SQL) in order; the numbers run from 1 without holes. `folder` holds another history than the
    product's."""
    folder = folder or importlib.resources.files("appliance.store") / "migrations"
    found = [(int(m[1]), f.read_text("utf-8")) for f in folder.iterdir() if (m := _NUMBERED.match(f.name))]
    return sorted(found)


def migrate(
    path: Path,
    settings: StoreSettings,
    steps: Sequence[Step] | None = None,
    tell_every_s: float = TELL_EVERY_S,
) -> int:
    """Bring the database up to date, making it if need be; returns its schema number. `steps` are the
    product's when not given; the log tells of what takes longer than `tell_every_s`. Raises SchemaTooNew,
    UpgradeRefused, sqlite3.Error; the database is then as it was, or at one of the steps."""
    steps = steps or migrations()
    last = steps[-1][0]
    with contextlib.closing(connect(path, settings)) as connection:
        have = _number(connection)
        if have > last:
            raise SchemaTooNew(have, last, _writer(connection, have), _way_back(path, last))
        waiting = [step for step in steps if step[0] > have]
        if have and waiting:
            _back_up(path, have, last, tell_every_s)
        for number, sql in waiting:
            with _telling("step", number, last, tell_every_s):
                _apply(connection, number, sql)
            log.info("migrated", extra={"schema": number, "last": last})
    return last


def refuse_newer(path: Path, backups_of: Path | None = None) -> None:
    """Look whether this version knows the file's schema, without changing anything. `backups_of` is the
    database whose backups lead back, when that is another file. A number that the file's own history does not
    know is damage, of which this says nothing; nor of a file that is not there. Raises SchemaTooNew."""
    known = migrations()[-1][0]
    if (found := _written_number(path)) <= known:
        return
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(backup.read_only(path, unchanging=True)) as it,
    ):
        if (version := _writer(it, found)) is not None:
            raise SchemaTooNew(found, known, version, _way_back(backups_of or path, known))


def _written_number(path: Path) -> int:
    """The schema number in the file's header, 0 when there is none. To open the database would change the
    index of its log, by which one can see that the log lost its end. Format:
    https://www.sqlite.org/fileformat2.html#the_database_header"""
    with contextlib.suppress(OSError), path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        if header.startswith(_MAGIC) and len(header) == _HEADER_BYTES:
            return int.from_bytes(header[_NUMBER_AT : _NUMBER_AT + 4])
    return 0


def _number(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _writer(connection: sqlite3.Connection, number: int) -> str | None:
    """The version of the gateway that made that schema."""
    with contextlib.suppress(sqlite3.Error):
        found = connection.execute(
            "SELECT version FROM schema_history WHERE number = ?", (number,)
        ).fetchone()
        return str(found[0]) if found else None
    return None


def _way_back(path: Path, known: int) -> Path | None:
    """The newest backup that is whole and that this version can read."""
    for candidate in backup.stored(path):
        with contextlib.suppress(sqlite3.Error):
            if backup.schema_of(candidate.path) <= known and backup.fault_of(candidate.path) is None:
                return candidate.path
    return None


def _back_up(path: Path, have: int, wanted: int, tell_every_s: float) -> None:
    """Raises UpgradeRefused, at once when there is no room for the copy and as much again for the change."""
    log.info("upgrade_begins", extra={"schema": have, "last": wanted, "bytes": path.stat().st_size})
    try:
        with _telling("backup", have, wanted, tell_every_s):
            made = backup.make(path, time.time_ns() // 1_000_000, f"-before-{wanted}")
    except backup.BackupFailed as error:
        raise UpgradeRefused(have, wanted, str(error)) from error
    log.info("backup_made", extra={"backup": made.path.name, "bytes": made.size})


@contextlib.contextmanager
def _telling(phase: str, number: int, last: int, every_s: float) -> Iterator[None]:
    """Say now and then what is going on, for as long as it does."""
    began, done = time.monotonic(), threading.Event()

    def tell() -> None:
        while not done.wait(every_s):
            after_s = round(time.monotonic() - began)
            log.info("migrating", extra={"phase": phase, "schema": number, "last": last, "after_s": after_s})

    teller = threading.Thread(target=tell, name="migrating", daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def _apply(connection: sqlite3.Connection, number: int, sql: str) -> None:
    connection.execute("BEGIN EXCLUSIVE")
    try:
        connection.execute(_HISTORY)
        for statement in _statements(sql):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO schema_history (number, version, applied_at) VALUES (?, ?, ?)",
            (number, __version__, time.time_ns() // 1_000_000),
        )
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
