"""A migration that is killed at any moment leaves one of the schemas, whole; the next start finishes it.

python tests/crash/test_migrations_killed.py [how many kills, default 500]
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from crash.vfs import watched

from appliance.store import backup
from appliance.store.database import StoreSettings, connect
from appliance.store.migrate import migrate, migrations

SETTINGS = StoreSettings()
KILLS = 60
ROWS = 1_500
STEPS = {
    "0001_initial.sql": "CREATE TABLE notes (no INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;",
    "0002_split.sql": """
        CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
        INSERT INTO authors (name) SELECT DISTINCT substr(text, 1, 2) FROM notes;
        CREATE TABLE notes_new (no INTEGER PRIMARY KEY, author INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
        INSERT INTO notes_new
            SELECT n.no, a.id, n.text FROM notes n JOIN authors a ON a.name = substr(n.text, 1, 2);
        DROP TABLE notes;
        ALTER TABLE notes_new RENAME TO notes;
        CREATE INDEX notes_author ON notes(author, no);
    """,
    "0003_marks.sql": """
        ALTER TABLE notes ADD COLUMN mark TEXT;
        UPDATE notes SET mark = 'even' WHERE no % 2 = 0;
        CREATE TRIGGER notes_mark AFTER INSERT ON notes BEGIN
            UPDATE notes SET mark = 'new' WHERE no = new.no;
        END;
    """,
}


class Killer:
    """Kills this process at the `at`-th thing it does to the disk; 0 never."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.done = 0

    def _step(self) -> int:
        self.done += 1
        if self.done == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def opened(self, path: str) -> None:
        self._step()

    def write(self, path: str, offset: int, data: bytes) -> int:
        return self._step()

    def truncate(self, path: str, size: int) -> int:
        return self._step()

    def sync(self, path: str) -> int:
        return self._step()

    def delete(self, path: str) -> int:
        return self._step()

    def sync_folder(self, path: str) -> None:
        self._step()


def migrate_watched(path: Path, folder: Path, kill_at: int) -> int:
    """Bring the database up to date, or die on the way; returns how often the disk was asked."""
    killer = Killer(kill_at)
    with watched(killer):
        migrate(path, SETTINGS, migrations(folder))
    return killer.done


def content(path: Path) -> list[str]:
    """Schema and rows, as SQL, without when the steps were taken."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.execute("UPDATE schema_history SET applied_at = 0")
        found = list(connection.iterdump())
        connection.rollback()
        return found


def version(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def written(folder: Path) -> Path:
    """The folder, with the history's files in it."""
    folder.mkdir()
    for name, sql in STEPS.items():
        (folder / name).write_text(sql)
    return folder


def filled(path: Path, steps: Path) -> Path:
    """A database with the first schema and some rows."""
    path.parent.mkdir()
    migrate(path, SETTINGS, migrations(steps)[:1])
    with contextlib.closing(connect(path, SETTINGS)) as connection:
        rows = [(f"{n % 40:02} {'words ' * 20}{n}",) for n in range(ROWS)]
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO notes (text) VALUES (?)", rows)
        connection.execute("COMMIT")
    return path


def kill_everywhere(place: Path, kills: int) -> set[int]:
    """Kill it that often, at moments spread over everything that it does to the disk; returns the schemas
    that were found afterwards. Raises AssertionError when one of them was not whole."""
    folder = written(place / "steps")
    old = filled(place / "old" / "gateway.db", folder)
    steps = migrations(folder)
    wanted: dict[int, list[str]] = {}
    for number in (1, 2, 3):
        reference = copied(old, place / f"reference{number}")
        migrate(reference, SETTINGS, steps[:number])
        wanted[number] = content(reference)
    total = migrate_watched(copied(old, place / "counted"), folder, 0)
    kills = min(kills, total)

    found: list[int] = []
    for n in range(kills):
        at = 1 + n * (total - 1) // (kills - 1)
        path = copied(old, place / f"killed{n}")
        killed = multiprocessing.get_context("fork").Process(target=migrate_watched, args=(path, folder, at))
        killed.start()
        killed.join(30)
        assert killed.exitcode == -signal.SIGKILL, f"point {at} of {total} was not reached"
        found.append(version(path))
        assert content(path) == wanted[found[-1]], f"half a schema after a kill at point {at} of {total}"
        for made in backup.stored(path):
            assert backup.fault_of(made.path) is None
        migrate(path, SETTINGS, steps)
        assert content(path) == wanted[3]
        shutil.rmtree(path.parent)
    print(f"{kills} kills over {total} disk operations; schemas found: {sorted(set(found))}")
    return set(found)


def copied(database: Path, folder: Path) -> Path:
    folder.mkdir()
    return Path(shutil.copy(database, folder))


def test_a_migration_killed_anywhere_leaves_a_whole_schema(tmp_path: Path) -> None:
    assert kill_everywhere(tmp_path, KILLS) == {1, 2, 3}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="migrations-") as place:
        kill_everywhere(Path(place), int(sys.argv[1]) if len(sys.argv) > 1 else 500)
