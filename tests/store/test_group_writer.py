"""What the writer does when the disk fails in the middle: never a false success, nothing twice, back by
itself."""

import asyncio
import contextlib
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from crash.vfs import watched
from patience import PATIENCE_S
from store.failing_disk import FailingDisk

from appliance.model.errors import GatewayError, StorageFull
from appliance.store import last_stop
from appliance.store.database import Database, StoreError, StoreLost, StoreSettings, Transaction, connect
from appliance.store.group_writer import GroupWriter
from appliance.store.last_stop import LastStop
from appliance.store.query import Query, count
from appliance.store.trouble import NotWritten, Trouble

SETTINGS = StoreSettings()
HOW_MANY = count("SELECT count(*) FROM chats")


@pytest.fixture
def disk() -> Iterator[FailingDisk]:
    witness = FailingDisk()
    with watched(witness):
        yield witness


@pytest.fixture
async def db(disk: FailingDisk, tmp_path: Path) -> AsyncIterator[Database]:
    path = tmp_path / "test.db"
    with contextlib.closing(connect(path, SETTINGS)) as connection:
        connection.execute("CREATE TABLE chats (name TEXT PRIMARY KEY) STRICT")
    database = Database(path, SETTINGS)
    await database.open()
    yield database
    await database.close()


def add(name: str, tx: Transaction) -> int:
    return tx.insert("INSERT INTO chats (name) VALUES (?)", name)


async def names(db: Database) -> list[str]:
    return await db.reader.all(Query("SELECT name FROM chats ORDER BY name", (), lambda row: str(row[0])))


def names_after_a_crash(db: Database, folder: Path) -> list[str]:
    """What a start would find if the process died now: the files as they lie, without the shared memory."""
    copy = folder / "crashed.db"
    for ending in ("", "-wal"):
        shutil.copyfile(f"{db.path}{ending}", f"{copy}{ending}")
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM chats ORDER BY name")]


@pytest.mark.parametrize("fault", ["failing_syncs", "failing_writes"])
async def test_a_commit_that_fails_is_told_as_failed_and_leaves_nothing(
    db: Database, disk: FailingDisk, tmp_path: Path, fault: str
) -> None:
    await db.transaction(lambda tx: add("before", tx))
    setattr(disk, fault, 1)
    with pytest.raises(StoreError, match="Nothing was stored"):
        await db.transaction(lambda tx: add("refused", tx))
    assert names_after_a_crash(db, tmp_path) == ["before"]
    await db.transaction(lambda tx: add("after", tx))
    assert await names(db) == ["after", "before"]
    assert names_after_a_crash(db, tmp_path) == ["after", "before"]


async def test_a_failing_commit_answers_its_whole_group_and_repeats_nothing(
    db: Database, disk: FailingDisk
) -> None:
    """A group that failed at its COMMIT must not be run again one by one: it could succeed twice."""
    runs: list[str] = []

    def work(name: str, tx: Transaction) -> int:
        runs.append(name)
        return add(name, tx)

    disk.failing_syncs = 1
    wanted = [f"{n}" for n in range(40)]
    answers = await asyncio.gather(
        *(db.transaction(lambda tx, n=n: work(n, tx)) for n in wanted),  # type: ignore[misc]
        return_exceptions=True,
    )
    assert len(runs) == len(wanted)
    stored = {name for name, answer in zip(wanted, answers, strict=True) if isinstance(answer, int)}
    refused = [answer for answer in answers if isinstance(answer, StoreError)]
    assert len(stored) + len(refused) == len(wanted)
    assert refused
    assert set(await names(db)) == stored


async def test_what_cannot_be_written_over_is_told_as_unknown(db: Database, disk: FailingDisk) -> None:
    await db.transaction(lambda tx: add("before", tx))
    disk.failing_syncs = 2
    with pytest.raises(StoreError, match="shows after the next start"):
        await db.transaction(lambda tx: add("unknown", tx))
    await until_it_takes(db, "after")
    assert await names(db) == ["after", "before"]


async def test_while_the_disk_fails_changes_are_refused_at_once(db: Database, disk: FailingDisk) -> None:
    disk.failing_syncs = 5
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(StoreError):
            await db.transaction(lambda tx: add("refused", tx))
        assert time.monotonic() - began < 2
    await until_it_takes(db, "after")
    assert await names(db) == ["after"]


async def until_it_takes(db: Database, name: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            await db.transaction(lambda tx: add(name, tx))
            return
        except StoreError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def test_a_writer_whose_disk_never_comes_back_says_so_and_goes_on_refusing(
    disk: FailingDisk, tmp_path: Path
) -> None:
    lost: list[Trouble] = []
    path = tmp_path / "test.db"
    writer = GroupWriter(
        lambda: connect(path, SETTINGS), lambda: None, lambda trouble, _text: lost.append(trouble), 0.3
    )
    await writer.open()
    await writer.submit(lambda connection: connection.execute("CREATE TABLE chats (name TEXT)"))
    disk.failing_syncs = 1_000_000
    while not lost:
        with pytest.raises(NotWritten):
            await writer.submit(lambda connection: connection.execute("INSERT INTO chats VALUES ('no')"))
    assert lost == [Trouble.IO]
    with pytest.raises(NotWritten):
        await writer.submit(lambda connection: connection.execute("INSERT INTO chats VALUES ('late')"))
    disk.failing_syncs = 0
    await writer.close()


async def test_a_full_disk_frees_the_ballast_and_refuses_only_what_does_not_fit(
    db: Database, disk: FailingDisk
) -> None:
    assert db.ballast.is_held
    disk.full_writes = 1
    with pytest.raises(StorageFull):
        await db.transaction(lambda tx: add("refused", tx))
    assert not (db.path.parent / "ballast").exists()
    await db.transaction(lambda tx: add("after", tx))
    assert await names(db) == ["after"]
    assert db.ballast.take()


async def test_a_slow_disk_answers_late_and_right(db: Database, disk: FailingDisk) -> None:
    disk.sync_s = 0.3
    began = time.monotonic()
    await asyncio.gather(*(db.transaction(lambda tx, n=n: add(f"{n}", tx)) for n in range(8)))  # type: ignore[misc]
    assert time.monotonic() - began > 0.3
    disk.sync_s = 0
    assert len(await names(db)) == 8


async def test_a_damaged_page_met_by_a_read_ends_the_life_and_marks_the_file(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    with contextlib.closing(connect(path, SETTINGS)) as connection:
        connection.execute("CREATE TABLE chats (name TEXT PRIMARY KEY) STRICT")
        connection.executemany("INSERT INTO chats VALUES (?)", [(f"{n:06}" * 20,) for n in range(5_000)])
    damage(path)
    db = Database(path, SETTINGS)
    await db.open()
    with pytest.raises(StoreError):
        await names(db)
    with pytest.raises(StoreLost):
        await asyncio.wait_for(db.watch(), PATIENCE_S)
    assert last_stop.of(path) is LastStop.SUSPECT
    await db.close()


async def test_a_damaged_page_met_by_a_change_is_a_refusal_and_ends_the_life(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    with contextlib.closing(connect(path, SETTINGS)) as connection:
        connection.execute("CREATE TABLE chats (name TEXT PRIMARY KEY) STRICT")
        connection.executemany("INSERT INTO chats VALUES (?)", [(f"{n:06}" * 20,) for n in range(5_000)])
    damage(path)
    db = Database(path, SETTINGS)
    await db.open()
    with pytest.raises(GatewayError, match="malformed"):
        await db.transaction(lambda tx: tx.run("UPDATE chats SET name = name || 'x'"))
    with pytest.raises(StoreLost):
        await asyncio.wait_for(db.watch(), PATIENCE_S)
    with pytest.raises(StoreError):
        await db.transaction(lambda tx: add("late", tx))
    assert last_stop.of(path) is LastStop.SUSPECT
    await db.close()


def damage(path: Path) -> None:
    """Overwrite pages in the middle of the file."""
    data = bytearray(path.read_bytes())
    for at in range(4096 * 20, len(data) - 4096, 4096):
        data[at : at + 64] = b"\xff" * 64
    path.write_bytes(data)
