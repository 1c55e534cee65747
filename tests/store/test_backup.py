"""Backups: whole copies beside a writer that goes on, checked before they count, the newest few kept."""

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest
from clock import HandClock

from appliance.gateway.backups import Backups, BackupSettings
from appliance.store import backup
from appliance.store.backup import BackupFailed
from appliance.store.database import Database, StoreSettings, connect
from appliance.store.migrate import migrate

SETTINGS = StoreSettings()
ONE_MORE = (
    "INSERT INTO dead_letters (device_id, kind, error, event, created_at) VALUES ('d', 'k', 'e', x'', 1)"
)
AT = 1_700_000_000_000
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.db"
    migrate(path, SETTINGS)
    return path


def add_letters(connection: sqlite3.Connection, letters: int) -> None:
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO dead_letters (device_id, kind, error, event, created_at) VALUES ('d', 'k', 'e', ?, 1)",
        [(b"x" * 500,)] * letters,
    )
    connection.execute("COMMIT")


def letters_in(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM dead_letters").fetchone()[0])


async def test_a_backup_is_one_moment_of_a_database_that_is_written_meanwhile(database: Path) -> None:
    db = Database(database, SETTINGS)
    await db.open()
    with contextlib.closing(connect(database, SETTINGS)) as connection:
        add_letters(connection, 20_000)
    making = asyncio.create_task(asyncio.to_thread(backup.make, database, AT))
    slowest = 0.0
    while not making.done():
        began = asyncio.get_running_loop().time()
        await db.transaction(lambda tx: tx.run(ONE_MORE))
        slowest = max(slowest, asyncio.get_running_loop().time() - began)
    made = await making
    await db.close()
    assert backup.fault_of(made.path) is None
    assert 20_000 <= letters_in(made.path) <= letters_in(database)
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert slowest < 2, "the writer does not wait for the backup"
    assert [found.path for found in backup.stored(database)] == [made.path]


def test_a_copy_with_a_damaged_page_is_no_backup(database: Path) -> None:
    made = backup.make(database, AT)
    with made.path.open("r+b") as file:
        file.seek(4096 * 5)
        file.write(b"\xff" * 100)
    assert backup.fault_of(made.path) is not None


def test_a_damaged_database_gives_no_backup_and_leaves_no_draft(database: Path) -> None:
    with contextlib.closing(connect(database, SETTINGS)) as connection:
        add_letters(connection, 1_000)
    with database.open("r+b") as file:
        for page in range(60, 150, 2):
            file.seek(4096 * page)
            file.write(b"\xff" * 100)
    with pytest.raises(BackupFailed):
        backup.make(database, AT)
    assert list(backup.folder_of(database).iterdir()) == []


def test_a_backup_that_is_told_to_stop_ends_and_leaves_nothing(database: Path) -> None:
    with contextlib.closing(connect(database, SETTINGS)) as connection:
        add_letters(connection, 20_000)
    stop = threading.Event()
    stop.set()
    with pytest.raises(BackupFailed, match="interrupted"):
        backup.make(database, AT, stop=stop)
    assert list(backup.folder_of(database).iterdir()) == []


async def test_the_oldest_go_and_the_newest_stays_whatever_the_clock_says(database: Path) -> None:
    clock = HandClock(AT)
    backups = Backups(database, clock, BackupSettings(keep=3))
    for _ in range(5):
        assert await backups.make()
        clock.advance(DAY_MS / 1000)
    assert [found.at for found in backup.stored(database)] == [AT + n * DAY_MS for n in (4, 3, 2)]
    clock.jump(-20 * 365 * 24 * 3600)
    assert await backups.make()
    assert backups.newest is not None
    assert backups.newest.path.exists()
    assert len(backup.stored(database)) == 3


async def test_a_failed_backup_is_told_until_one_succeeds(database: Path) -> None:
    backups = Backups(database, HandClock(AT), BackupSettings())
    blocked = backup.folder_of(database)
    blocked.write_text("in the way")
    assert not await backups.make()
    assert backups.failed
    blocked.unlink()
    assert await backups.make()
    assert not backups.failed
