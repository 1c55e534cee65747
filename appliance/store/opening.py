"""The first look at the database, before anything else uses it: is it whole, and if not, what takes its
place.

After a clean stop it is opened as it is. After any other it is checked; a large one in the background, so
that the start does not wait for it, unless the last life ended because the database was found damaged.
"""

import contextlib
import errno
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from appliance.model.told import Told, refused_by_system
from appliance.store import last_stop
from appliance.store.backup import read_only, stored
from appliance.store.ballast import give_up_when_full
from appliance.store.database import StoreSettings, connect
from appliance.store.last_stop import LastStop
from appliance.store.log_check import log_damage
from appliance.store.migrate import migrate, refuse_newer
from appliance.store.recovery import Recovery, accept_cut, finish, recover
from appliance.store.trouble import Trouble, trouble_of

log = logging.getLogger(__name__)

WHOLE_CHECK_BYTES = 64 * 1024 * 1024
"""Up to this size every index is compared with its table, not only the structure looked at."""
AT_START_BYTES = 256 * 1024 * 1024
"""Up to this size the check comes before the start; measured, it takes about a second then."""


class CannotOpen(Told):
    """The disk does not let the database be used; the message says what it said."""


class Opening(msgspec.Struct, frozen=True):
    """How the database was found: `check_later` when it still has to be checked, in the background."""

    last_stop: LastStop = LastStop.NONE
    check_later: bool = False
    recovery: Recovery | None = None


def make_ready(database: Path, settings: StoreSettings) -> Opening:
    """Find the database whole or mend it, bring its schema up to date, and note that a life begins. Raises
    SchemaTooNew, UpgradeRefused, CannotOpen."""
    with using(database):
        give_up_when_full(database.parent)
        opened = prepare(database, settings)
        migrate(database, settings)
        begun(database)
    return opened


@contextlib.contextmanager
def using(database: Path) -> Iterator[None]:
    """What the disk or the file refuses meanwhile is told in a sentence. Raises CannotOpen."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        advice = " Make room on the disk, then start again." if _is_full(error) else ""
        raise CannotOpen(f"{database} cannot be used: {error}.{advice}") from error


def prepare(database: Path, settings: StoreSettings) -> Opening:
    """Look at the database, and replace it if it is damaged. `begun` must follow when its schema stands.

    Raises SchemaTooNew before anything is changed, and OSError, sqlite3.Error when it cannot be read or the
    replacement cannot be written.
    """
    refuse_newer(database)
    stop = LastStop.SUSPECT if finish(database) else last_stop.of(database)
    if stop is LastStop.NONE and not database.exists() and not stored(database):
        return Opening(stop)
    damage = _missing(database, stop)
    hole = None
    if damage is None and stop is not LastStop.CLEAN:
        hole = log_damage(_log_file(database))
        damage = _damage(database, stop)
    if damage is not None:
        log.error("database_damaged", extra={"reason": damage, "last_stop": stop.value})
        return Opening(stop, recovery=recover(database, settings, damage))
    cut = accept_cut(database, settings, _log_file(database), hole) if hole else None
    if stop is LastStop.SUSPECT:
        rebuild_searches(database, settings)
    later = stop is not LastStop.CLEAN and not _is_checked_now(database, stop)
    return Opening(stop, check_later=later, recovery=cut)


def begun(database: Path) -> None:
    """The schema stands and the life begins: from here on a kill is an unclean stop. Raises OSError."""
    last_stop.begin(database)


def ended(database: Path) -> None:
    """The database was closed. The stop is clean if nothing is left in the log, and if the disk takes a note
    of it; otherwise the next start checks the database."""
    log_file = _log_file(database)
    try:
        if not log_file.exists() or log_file.stat().st_size == 0:
            last_stop.clean(database)
    except OSError as error:
        log.warning("stop_not_noted", extra={"error": refused_by_system(error, database.parent)})


def damage_of(database: Path, *, whole: bool) -> str | None:
    """What is wrong with the file and its log, None when it is sound. `whole` also compares every index with
    its table. Nothing is changed. Raises sqlite3.Error when it cannot be read for other reasons."""
    try:
        with contextlib.closing(read_only(database)) as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] < 1:
                return "the file has no schema"
            check = "integrity_check" if whole else "quick_check"
            said = connection.execute(f"PRAGMA {check}(1)").fetchone()[0]
    except sqlite3.Error as error:
        if not _is_damage(error):
            raise
        return str(error)
    return None if said == "ok" else str(said)


def rebuild_searches(database: Path, settings: StoreSettings) -> None:
    """Build the full-text indexes anew: their damage is no damage of the file, and no check finds it. Raises
    sqlite3.Error."""
    with contextlib.closing(connect(database, settings)) as connection:
        found = connection.execute(
            "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%fts5%'"
        )
        for (name,) in found.fetchall():
            connection.execute(f"INSERT INTO {name} ({name}) VALUES ('rebuild')")  # noqa: S608
            log.warning("search_rebuilt", extra={"index": name})


def _is_full(error: Exception) -> bool:
    return trouble_of(error) is Trouble.FULL or getattr(error, "errno", 0) == errno.ENOSPC


def _is_damage(error: sqlite3.Error) -> bool:
    """A page that cannot be read counts as damaged: a disk that fails there once will fail there again."""
    code = getattr(error, "sqlite_errorcode", 0)
    unreadable = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}
    return trouble_of(error) is Trouble.CORRUPT or code in unreadable


def _missing(database: Path, stop: LastStop) -> str | None:
    """A database that was there and is not, or is empty. Before the first life ended that is no wonder."""
    if database.exists() and database.stat().st_size > 0:
        return None
    if stop is LastStop.NONE and not stored(database):
        return None
    return "the file is empty" if database.exists() else "the file is missing"


def _damage(database: Path, stop: LastStop) -> str | None:
    if stop is LastStop.NONE and _has_no_schema(database):
        return None  # the first start was interrupted before there was anything
    if not _is_checked_now(database, stop):
        return None
    size = database.stat().st_size
    return damage_of(database, whole=size <= WHOLE_CHECK_BYTES or stop is LastStop.SUSPECT)


def _is_checked_now(database: Path, stop: LastStop) -> bool:
    return stop is LastStop.SUSPECT or database.stat().st_size <= AT_START_BYTES


def _has_no_schema(database: Path) -> bool:
    with contextlib.suppress(sqlite3.Error), contextlib.closing(read_only(database)) as connection:
        return bool(connection.execute("PRAGMA user_version").fetchone()[0] == 0)
    return False


def _log_file(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")
