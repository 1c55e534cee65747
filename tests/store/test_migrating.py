"""Upgrades of the schema: what they remember, refuse, and say meanwhile; and downgrades, which are refused
with the way back."""

import contextlib
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from appliance import __version__
from appliance.store import backup, migrate, opening
from appliance.store.database import StoreSettings, connect
from appliance.store.migrate import SchemaTooNew, Step, UpgradeRefused, migrations

SETTINGS = StoreSettings()
KNOWN = len(migrations())
NEXT: Step = (KNOWN + 1, "CREATE TABLE newer (no INTEGER PRIMARY KEY) STRICT;")
COUNTS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000)"
LONG: Step = (KNOWN + 1, f"CREATE TABLE newer AS {COUNTS} SELECT max(i) AS most FROM n;")
LATER = "9.1.0"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "gateway.db"
    path.parent.mkdir()
    migrate.migrate(path, SETTINGS)
    return path


def upgraded(path: Path) -> None:
    """What a later version leaves behind: another schema, its own name, and the backup before."""
    migrate.migrate(path, SETTINGS, [*migrations(), NEXT])
    with contextlib.closing(connect(path, SETTINGS)) as connection:
        connection.execute("UPDATE schema_history SET version = ? WHERE number = ?", (LATER, NEXT[0]))


def history(path: Path) -> list[tuple[int, str]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT number, version FROM schema_history ORDER BY number").fetchall()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_database_remembers_which_version_made_each_schema(database: Path) -> None:
    assert history(database) == [(number, __version__) for number, _ in migrations()]
    upgraded(database)
    assert history(database)[-1] == (NEXT[0], LATER)


def test_a_downgrade_is_refused_with_the_version_and_the_backup_to_go_back_to(database: Path) -> None:
    upgraded(database)
    [before] = backup.stored(database)
    backup.make(database, 4_000_000_000_000)  # of the newer schema: no way back
    found = contents(database.parent)
    with pytest.raises(SchemaTooNew) as refused:
        opening.prepare(database, SETTINGS)
    assert (refused.value.found, refused.value.known) == (NEXT[0], KNOWN)
    assert (refused.value.version, refused.value.way_back) == (LATER, before.path)
    assert str(refused.value).startswith(
        f"This database was last changed by WA Gateway {LATER} (schema {NEXT[0]}); "
        f"this is {__version__}, which knows schema {KNOWN}. Start {LATER} or newer again, "
        f"or go back to the backup {before.path}: "
    )
    assert contents(database.parent) == found, "nothing was touched"


def test_the_way_back_that_it_names_leads_back(database: Path) -> None:
    with contextlib.closing(connect(database, SETTINGS)) as connection:
        connection.execute("INSERT INTO choices (name, value) VALUES ('kept', 'yes')")
    upgraded(database)
    for ending in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            database.with_name(database.name + ending).rename(database.parent.parent / f"away{ending}")
    opened = opening.prepare(database, SETTINGS)
    migrate.migrate(database, SETTINGS)
    assert opened.recovery is not None
    with contextlib.closing(connect(database, SETTINGS)) as connection:
        assert connection.execute("SELECT value FROM choices").fetchall() == [("yes",)]


def test_a_damaged_or_missing_backup_is_not_named(database: Path) -> None:
    upgraded(database)
    [before] = backup.stored(database)
    with before.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"x" * 4096)
    with pytest.raises(SchemaTooNew, match=f"Start {LATER} or newer again\\.$"):
        opening.prepare(database, SETTINGS)


def test_a_copy_elsewhere_is_refused_too(database: Path, tmp_path: Path) -> None:
    """What a restore asks of the database that it is given."""
    copy = tmp_path / "restored.db"
    shutil.copyfile(database, copy)
    migrate.refuse_newer(copy)
    upgraded(database)
    shutil.copyfile(database, copy)
    with pytest.raises(SchemaTooNew) as refused:
        migrate.refuse_newer(copy, backups_of=database)
    assert refused.value.way_back == backup.stored(database)[0].path


def test_a_number_that_no_version_wrote_is_left_to_the_checks(database: Path) -> None:
    with contextlib.closing(connect(database, SETTINGS)) as connection:
        connection.execute("PRAGMA user_version = 77")
    migrate.refuse_newer(database)
    with pytest.raises(SchemaTooNew, match="a newer WA Gateway \\(schema 77\\)"):
        migrate.migrate(database, SETTINGS)


def test_without_a_backup_nothing_is_changed(database: Path) -> None:
    (database.parent / backup.FOLDER).write_text("a file where the folder should be")
    with pytest.raises(UpgradeRefused, match=f"schema {KNOWN} to {NEXT[0]}") as refused:
        migrate.migrate(database, SETTINGS, [*migrations(), NEXT])
    assert "Nothing was changed" in str(refused.value)
    assert len(history(database)) == KNOWN


@pytest.mark.parametrize("steps", [[*migrations(), LONG]])
def test_a_long_upgrade_says_that_it_is_at_work(
    database: Path, steps: Sequence[Step], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    migrate.migrate(database, SETTINGS, steps, tell_every_s=0.01)
    assert caplog.messages.index("upgrade_begins") < caplog.messages.index("backup_made")
    told = [vars(record) for record in caplog.records if record.message == "migrating"]
    assert {"step"} <= {each["phase"] for each in told}
    assert all(each["last"] == LONG[0] for each in told)
    assert caplog.messages[-1] == "migrated"
