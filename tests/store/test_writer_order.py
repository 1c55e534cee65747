"""What waits for whom at the writer: what nobody waits for at a door lets others go first, and is never
forgotten."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from patience import PATIENCE_S

from appliance.store.database import Database, StoreSettings, Transaction, connect
from appliance.store.group_writer import GROUP_LIMIT, GroupWriter

_asked: set[asyncio.Task[None]] = set()
"""The loop itself keeps no task alive."""


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    path = tmp_path / "test.db"
    with contextlib.closing(connect(path, StoreSettings())) as connection:
        connection.execute("CREATE TABLE chats (name TEXT PRIMARY KEY) STRICT")
    database = Database(path, StoreSettings())
    await database.open()
    yield database
    await database.close()


@asynccontextmanager
async def held_up(db: Database, *, yields: bool = False) -> AsyncIterator[None]:
    """The writer is busy: what is asked for meanwhile waits."""
    busy, may_end = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work(_tx: Transaction) -> None:
        loop.call_soon_threadsafe(busy.set)
        assert may_end.wait(PATIENCE_S)

    change = asyncio.create_task(db.transaction(work, yields=yields))
    await asyncio.wait_for(busy.wait(), PATIENCE_S)
    try:
        yield
    finally:
        may_end.set()
        await change


def noting(done: list[tuple[str, int]], name: str, db: Database) -> Callable[[Transaction], None]:
    """Work that notes its name, and how many commits there were before its own."""
    return lambda _tx: done.append((name, db.commits))


async def all_of(db: Database, done: list[tuple[str, int]], names: str) -> None:
    """Ask for a change each, in that order; small letters yield."""
    for name in names:
        asked = asyncio.create_task(db.transaction(noting(done, name, db), yields=name.islower()))
        _asked.add(asked)
        asked.add_done_callback(_asked.discard)
    await asyncio.sleep(0)


async def finished(done: list[tuple[str, int]], many: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(done) < many:  # noqa: ASYNC110 (the writer's thread sets no event)
            await asyncio.sleep(0)


async def test_what_yields_lets_one_group_go_before_it(db: Database) -> None:
    done: list[tuple[str, int]] = []
    async with held_up(db):
        await all_of(db, done, "abCD")
    await finished(done, 4)
    assert "".join(name for name, _ in done) == "CDab"
    assert [group for _, group in done] == [1, 1, 2, 2]


async def test_it_comes_with_the_second_group_and_shares_its_commit(db: Database) -> None:
    done: list[tuple[str, int]] = []
    async with held_up(db):
        await all_of(db, done, "a" + "B" * (GROUP_LIMIT + 3))
    await finished(done, GROUP_LIMIT + 4)
    assert [name for name, group in done if group == 2] == ["B", "B", "B", "a"]


async def test_it_comes_even_where_others_fill_every_group(db: Database) -> None:
    done: list[tuple[str, int]] = []
    async with held_up(db):
        await all_of(db, done, "a" + "B" * 4 * GROUP_LIMIT)
    await finished(done, 4 * GROUP_LIMIT + 1)
    assert [group for name, group in done if name == "a"] == [2]


async def test_among_themselves_they_keep_their_order(db: Database) -> None:
    done: list[tuple[str, int]] = []
    async with held_up(db):
        await all_of(db, done, "aBcDeF")
    await finished(done, 6)
    assert "".join(name for name, _ in done) == "BDFace"


async def test_the_end_commits_both_kinds(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    writer = GroupWriter(lambda: connect(path, StoreSettings()), lambda: None, lambda _trouble, _why: None)
    await writer.open()
    may_end = threading.Event()
    asked = [writer.submit(lambda _connection: may_end.wait(PATIENCE_S))]
    asked += [writer.submit(lambda _connection: True, yields=yields) for yields in (True, True, False)]
    may_end.set()
    await writer.close()
    assert await asyncio.wait_for(asyncio.gather(*asked), PATIENCE_S) == [True] * 4


async def test_the_writer_is_wanted_by_what_does_not_yield(db: Database) -> None:
    done: list[tuple[str, int]] = []
    wanted = []
    async with held_up(db, yields=True):
        for names in ("", "a", "B"):
            await all_of(db, done, names)
            wanted.append(db.is_wanted)
    await finished(done, 2)
    assert [*wanted, db.is_wanted] == [False, False, True, False]


async def test_a_group_of_events_makes_an_end_when_somebody_waits(db: Database) -> None:
    """As the pump of incoming events does it: piece by piece, as long as nobody else wants the writer."""
    loop, begun, seen, done = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), list[int]()

    def work(_tx: Transaction) -> None:
        for n in range(1_000_000):
            done.append(n)
            if n == 10:
                loop.call_soon_threadsafe(begun.set)
                assert seen.wait(PATIENCE_S)
            if db.is_wanted:
                break

    long = asyncio.create_task(db.transaction(work, yields=True))
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    other = asyncio.create_task(db.transaction(lambda _tx: None))
    await asyncio.sleep(0)
    seen.set()
    await asyncio.wait_for(asyncio.gather(long, other), PATIENCE_S)
    assert len(done) == 11
