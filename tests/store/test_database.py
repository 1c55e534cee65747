"""The group-committing writer, the readers that cannot write, and the migrations."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from appliance.model.errors import NotFound, StorageFull
from appliance.store.database import Database, StoreError, StoreSettings, Transaction, connect
from appliance.store.migrate import SchemaTooNew, migrate, migrations
from appliance.store.query import Query, count, select

SETTINGS = StoreSettings()
HOW_MANY = count("SELECT count(*) FROM chats")


async def how_many(db: Database) -> int | None:
    return await db.reader.one(HOW_MANY)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    path = tmp_path / "test.db"
    with connect(path, SETTINGS) as connection:
        connection.execute("CREATE TABLE chats (name TEXT PRIMARY KEY) STRICT")
    connection.close()
    database = Database(path, SETTINGS)
    await database.open()
    yield database
    await database.close()


def add(name: str, tx: Transaction) -> int:
    return tx.insert("INSERT INTO chats (name) VALUES (?)", name)


async def test_a_change_is_there_once_its_caller_is_answered(db: Database) -> None:
    assert await db.transaction(lambda tx: add("a", tx)) == 1
    assert await db.reader.one(HOW_MANY) == 1


async def test_one_callers_failure_leaves_the_others_of_its_group_alone(db: Database) -> None:
    def fail_after_writing(tx: Transaction) -> None:
        add("half", tx)
        raise NotFound("not this one")

    changes = [db.transaction(lambda tx, n=n: add(f"chat {n}", tx)) for n in range(50)]  # type: ignore[misc]
    failing = db.transaction(fail_after_writing)
    answers = await asyncio.gather(*changes[:25], failing, *changes[25:], return_exceptions=True)
    assert [type(a) for a in answers if isinstance(a, BaseException)] == [NotFound]
    assert await db.reader.one(HOW_MANY) == 50


async def test_changes_that_wait_together_share_one_commit(db: Database) -> None:
    before = db.commits
    await asyncio.gather(*(db.transaction(lambda tx, n=n: add(f"{n}", tx)) for n in range(200)))  # type: ignore[misc]
    assert db.changes >= 200
    assert db.commits - before < 100


async def test_a_broken_rule_of_the_schema_is_the_callers_error_alone(db: Database) -> None:
    await db.transaction(lambda tx: add("a", tx))
    first = db.transaction(lambda tx: add("b", tx))
    again = db.transaction(lambda tx: add("a", tx))
    answers = await asyncio.gather(first, again, return_exceptions=True)
    assert isinstance(answers[1], sqlite3.IntegrityError)
    assert await db.reader.one(HOW_MANY) == 2


async def test_a_cancelled_caller_does_not_disturb_its_group(db: Database) -> None:
    leaving = asyncio.ensure_future(db.transaction(lambda tx: add("left", tx)))
    staying = asyncio.ensure_future(db.transaction(lambda tx: add("stayed", tx)))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == 2
    assert await db.reader.one(HOW_MANY) == 2


async def test_a_reader_cannot_write(db: Database) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await db.reader.all(Query("INSERT INTO chats (name) VALUES ('x')", (), lambda row: row))


async def test_a_snapshot_sees_one_moment(db: Database) -> None:
    async with db.reader.snapshot() as moment:
        assert await moment.one(HOW_MANY) == 0
        await db.transaction(lambda tx: add("later", tx))
        assert await moment.one(HOW_MANY) == 0
    assert await db.reader.one(HOW_MANY) == 1


async def test_a_snapshot_that_is_given_up_at_any_moment_ends(db: Database) -> None:
    """Else its connection would show the past for ever."""

    async def look() -> None:
        async with db.reader.snapshot() as moment:
            await moment.one(HOW_MANY)
            await moment.one(HOW_MANY)

    for n in range(40):
        looking = [asyncio.create_task(look()) for _ in range(2)]
        for _ in range(n % 20):
            await asyncio.sleep(0.0001 * (n % 3))
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
        await db.transaction(lambda tx, n=n: add(f"after {n}", tx))  # type: ignore[misc]
        assert await asyncio.gather(*(how_many(db) for _ in range(4))) == [n + 1] * 4
    await look()


async def test_a_full_disk_is_said_and_passes(db: Database) -> None:
    pages = await db.transaction(lambda tx: tx.one(count("PRAGMA page_count")))
    await db.transaction(lambda tx: tx.one(count(f"PRAGMA max_page_count = {pages}")))
    with pytest.raises(StorageFull):
        await db.transaction(lambda tx: add("x" * 100_000, tx))
    await db.transaction(lambda tx: tx.one(count("PRAGMA max_page_count = 1000000")))
    assert await db.transaction(lambda tx: add("x" * 100_000, tx)) == 1


async def test_nothing_is_taken_after_close(tmp_path: Path) -> None:
    database = Database(tmp_path / "closed.db", SETTINGS)
    await database.open()
    await database.close()
    with pytest.raises(StoreError):
        await database.transaction(lambda tx: add("late", tx))


def test_migrations_run_once_and_are_numbered_without_holes(tmp_path: Path) -> None:
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))
    path = tmp_path / "new.db"
    assert migrate(path, SETTINGS) == migrate(path, SETTINGS) == len(migrations())
    connection = connect(path, SETTINGS)
    assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    migrate(path, SETTINGS)
    connection = connect(path, SETTINGS)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(SchemaTooNew, match="99"):
        migrate(path, SETTINGS)


async def test_a_row_that_means_nothing_hides_no_other(db: Database) -> None:
    """Bytes that changed on the disk within a value are found by no check of the file."""

    class Chat(msgspec.Struct):
        name: Annotated[str, msgspec.Meta(max_length=8)]

    await db.transaction(lambda tx: [add(name, tx) for name in ("well", "longer than it may be")])
    chats = select(Chat, "chats", "1 ORDER BY name")
    assert await db.reader.all(chats) == [Chat("well")]
    assert await db.transaction(lambda tx: tx.all(chats)) == [Chat("well")]
    with pytest.raises(StoreError, match="damaged"):
        await db.reader.one(chats)


async def test_a_garbled_text_is_read_with_marks_in_it(db: Database) -> None:
    garbled = "INSERT INTO chats (name) VALUES (CAST(x'41ff42' AS TEXT))"
    await db.transaction(lambda tx: (tx.run(garbled), add("well", tx)))
    chats = Query("SELECT name FROM chats ORDER BY name", (), lambda row: str(row[0]))
    assert await db.reader.all(chats) == ["A\ufffdB", "well"]
    assert await db.transaction(lambda tx: tx.all(chats)) == ["A\ufffdB", "well"]
    assert await db.reader.one(chats) == "A\ufffdB"
    assert await db.transaction(lambda tx: tx.one(chats)) == "A\ufffdB"
