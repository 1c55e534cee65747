"""Copies for a backup of everything: one moment each, also of what a killed worker left, and safe to go on
from."""

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.store import copies
from appliance.store.backup import BackupFailed
from appliance.store.copies import CopyUnusable, Kept
from appliance.store.database import StoreSettings, connect
from appliance.store.migrate import migrate

SETTINGS = StoreSettings()
AT = 1_700_000_000_000
ROWS = """
INSERT INTO accounts VALUES ('a', 'a@example.test', 'A', 'user', 'hash', x'01', x'01', 1, 1, NULL);
INSERT INTO devices (id, account_id, name, sandbox, status, linked, wanted, created_at)
    VALUES ('d', 'a', 'D', 0, 'CONNECTED', 1, 1, 1), ('gone', NULL, 'G', 0, 'CONNECTED', 1, 1, 1);
INSERT INTO media (id, account_id, device_id, kind, mimetype, state, created_at)
    VALUES ('here', 'a', 'd', 'image', 'image/png', 'stored', 1),
        ('not', 'a', 'd', 'image', 'image/png', 'gone', 1);
INSERT INTO invites VALUES ('reset', x'01', 'a', 'a', 1, 9), ('invitation', x'02', NULL, 'a', 1, 9);
"""
# What a worker leaves that is killed in the middle of a change too large for its memory.
INTERRUPTED = """
import os, sqlite3, sys
session = sqlite3.connect(sys.argv[1], isolation_level=None)
session.execute("PRAGMA cache_size = 5")
session.execute("BEGIN")
session.execute("UPDATE keys SET value = randomblob(1000)")
os._exit(9)
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.db"
    migrate(path, SETTINGS)
    with contextlib.closing(connect(path, SETTINGS)) as connection:
        connection.executescript(ROWS)
    return path


@pytest.fixture
def session(tmp_path: Path) -> Path:
    path = tmp_path / "session.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE keys (value)")
        connection.executemany(
            "INSERT INTO keys VALUES (?)", [(bytes([n % 256]) * 1000,) for n in range(500)]
        )
        connection.commit()
    return path


def keys_in(path: Path) -> list[bytes]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT value FROM keys ORDER BY rowid")]


def test_a_copy_knows_the_devices_and_files_that_belong_to_it(database: Path, tmp_path: Path) -> None:
    copies.of_gateway(database, tmp_path / "copy")
    assert copies.device_ids(tmp_path / "copy") == ["d"]
    assert list(copies.kept_files(tmp_path / "copy")) == [Kept("d", "here")]
    copies.check(tmp_path / "copy", database)


def test_a_damaged_database_gives_no_copy(database: Path, tmp_path: Path) -> None:
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 4)
    with pytest.raises(BackupFailed):
        copies.of_gateway(database, tmp_path / "copy")


def test_a_session_that_is_written_to_is_copied_as_it_was_committed(session: Path, tmp_path: Path) -> None:
    before = keys_in(session)
    with contextlib.closing(sqlite3.connect(session, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE keys SET value = x'00'")
        copies.of_session(session, tmp_path / "copy")
        writer.execute("COMMIT")
    assert keys_in(tmp_path / "copy") == before


def test_the_half_change_of_a_killed_worker_is_not_copied(session: Path, tmp_path: Path) -> None:
    before = keys_in(session)
    assert subprocess.run([sys.executable, "-c", INTERRUPTED, str(session)], check=False).returncode == 9
    assert session.with_name("session.db-journal").stat().st_size > 0
    copies.of_session(session, tmp_path / "copy")
    assert keys_in(tmp_path / "copy") == before


def test_a_damaged_session_gives_no_copy(session: Path, tmp_path: Path) -> None:
    with session.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 3)
    with pytest.raises(BackupFailed):
        copies.of_session(session, tmp_path / "copy")
    assert copies.session_fault(session) is not None


def test_going_on_from_a_copy_jumps_ahead_and_voids_links_for_a_password(database: Path) -> None:
    copies.go_on_from(database, SETTINGS, AT)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT id FROM invites").fetchall() == [("invitation",)]
        [number] = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        assert number >= AT
        assert connection.execute("SELECT no FROM event_floors").fetchall() == [(number,)]


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"SQLite format 3\0" + bytes(4096))
    with pytest.raises(CopyUnusable):
        copies.check(tmp_path / "copy", tmp_path / "gateway.db")
