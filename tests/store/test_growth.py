"""Growth: no list reads a whole table, and every table has something that bounds it."""

import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from messages_of import device_of, message, owner

from appliance.store import (
    chats,
    conversation,
    delivery_queue,
    devices,
    events,
    expiry,
    figures,
    media,
    message_list,
    messages,
)
from appliance.store.database import Database, Reader, StoreSettings
from appliance.store.message_list import Effort, Filters
from appliance.store.migrate import migrate
from appliance.store.query import Query

T = TypeVar("T")
BOUNDS = {
    "accounts": "people make them",
    "browser_sessions": "expiry.short_lived: when they expire",
    "devices": "people make them",
    "imports": "one a device that somebody moved here by hand",
    "invites": "people make them; gone when they are used or expired",
    "choices": "one a setting",
    "worker_marks": "devices.mark_applied: the last eight runs of a device",
    "jid_pairs": "one a person that a device has met; small",
    "chat_names": "one a group",
    "messages": "retention.messages_days, retention.max_mib",
    "message_search": "triggers: one a message with words",
    "chats": "expiry.messages: gone with their last message",
    "receipts": "cascade from messages",
    "waiting_receipts": "expiry.short_lived: a week",
    "idempotency": "expiry.short_lived: a day",
    "media": "with their messages; the files by media.keep_days",
    "events": "retention.events_days, retention.max_mib",
    "event_floors": "one an account",
    "endpoints": "people make them",
    "deliveries": "retention.events_days, retention.max_mib",
    "attempts": "cascade from deliveries",
    "stream_tickets": "expiry.short_lived: when they expire",
    "dead_letters": "dead_letters.KEPT",
    "schema_history": "one row for each version that changed the schema",
}
LISTS = [
    Filters(),
    Filters(device_id="d"),
    Filters(remote_jids=("a@s.whatsapp.net", "b@lid")),
    Filters(device_id="d", remote_jids=("a@s.whatsapp.net",), kind="image"),
    Filters(participant="p", from_me=True, kind="text", since=1, until=2),
    Filters(status="delivered"),
    Filters(status="failed"),
    Filters(words="halo"),
    Filters(words='"halo dunia" bes*', device_id="d", kind="document", since=1),
]
SOMETHING = message(device_of("a"), 1, None)
LARGE = ("messages", "events", "deliveries", "receipts", "chats")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "gateway.db"
    migrate(path, StoreSettings())
    opened = sqlite3.connect(path)
    yield opened
    opened.close()


class Watched(Reader):
    """A reader that remembers what it was asked."""

    def __init__(self, whole: Reader) -> None:
        self._whole = whole
        self.long_read = whole.long_read
        self.asked: list[Query[Any]] = []

    async def one(self, query: Query[T]) -> T | None:
        self.asked.append(query)
        return await self._whole.one(query)

    async def all(self, query: Query[T]) -> list[T]:
        self.asked.append(query)
        return await self._whole.all(query)


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Watched]:
    """Over a few messages, in the conversations that the lists below ask for."""
    path = tmp_path / "filled.db"
    migrate(path, StoreSettings())
    database = Database(path, StoreSettings())
    await database.open()
    device = await database.transaction(owner)
    for chat in ("a@s.whatsapp.net", "b@lid") * 6:
        row = message(device, 1, None)
        row.chat = chat
        await database.transaction(partial(messages.insert, message=row))
    yield Watched(database.reader)
    await database.close()


def plan(connection: sqlite3.Connection, query: Query[Any]) -> list[str]:
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query.sql}", query.args)]


def slow(steps: list[str]) -> list[str]:
    """Steps that go over a whole large table or sort what they found."""
    whole = re.compile(rf"SCAN ({'|'.join(LARGE)})\b(?! VIRTUAL)")
    return [step for step in steps if whole.search(step) or "TEMP B-TREE" in step]


@pytest.mark.parametrize("filters", LISTS)
async def test_no_list_of_messages_reads_a_table_or_sorts(
    connection: sqlite3.Connection, reader: Watched, filters: Filters
) -> None:
    [device] = await reader.all(devices.everywhere())
    if filters.device_id is not None:
        filters = msgspec.structs.replace(filters, device_id=device.id)
    await message_list.read(
        reader, device.account_id, filters, None, 50, Effort(first=2, longest=4, most=100)
    )
    assert any("content" in query.sql for query in reader.asked)
    for query in reader.asked:
        assert not slow(plan(connection, query)), (query.sql, plan(connection, query))


@pytest.mark.parametrize(
    "query",
    [
        chats.page("a", None, None, 50),
        chats.page("a", "d", 7, 50),
        chats.of("a", "d", "c"),
        events.after("a", 7, 100),
        events.after("a", 7, 100, device_id="d"),
        events.floor("a"),
        events.latest("a"),
        events.aged(7, 100),
    ],
)
def test_no_other_list_does(connection: sqlite3.Connection, query: Query[Any]) -> None:
    assert not slow(plan(connection, query)), (query.sql, plan(connection, query))


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (messages.interrupted(), "messages_waiting"),
        (messages.waiting(), "messages_waiting"),
        (messages.untold(), "messages_untold"),
        (messages.by_id("a", "m"), "messages_wa (<expr>=?)"),
        (messages.on_device("d", "m"), "messages_wa (<expr>=?)"),
        (messages.ours("d", "m"), "messages_wa (<expr>=?)"),
        (messages.repeat_of(SOMETHING), "messages_wa (<expr>=?)"),
        (conversation.named("a", "d", "c", ("m", "n")), "messages_wa (<expr>=?)"),
        (messages.accepted_since(7), "INTEGER PRIMARY KEY"),
        (media.waiting_notes(), "messages_waiting"),
        (events.highest(), "sqlite_sequence"),
        (delivery_queue.work([1]), "deliveries_fresh"),
        (delivery_queue.work([1]), "deliveries_due"),
        (delivery_queue.fresh("e", 5, [1]), "deliveries_fresh"),
        (delivery_queue.due("e", 7, 5, [1]), "deliveries_due"),
        (delivery_queue.probe("e", [1]), "deliveries_due"),
        (figures.deliveries_waiting(), "deliveries_fresh"),
        (Query(delivery_queue.CLAMP, (7, 7), tuple), "deliveries_due"),
    ],
)
def test_what_is_asked_often_goes_by_the_index_for_it(
    connection: sqlite3.Connection, query: Query[Any], index: str
) -> None:
    steps = plan(connection, query)
    assert any(index in step for step in steps), steps
    by_all = re.compile(r"deliveries_(endpoint|event)|SCAN (messages|events|deliveries|d)$")
    assert not [step for step in steps if by_all.search(step)], steps


def test_a_slow_plan_would_be_noticed(connection: sqlite3.Connection) -> None:
    for sql in (
        "SELECT * FROM messages WHERE participant = 'x'",
        "SELECT * FROM messages WHERE account_id = 'a' ORDER BY text",
    ):
        assert slow(plan(connection, Query(sql, (), tuple)))


def test_every_table_has_a_bound(connection: sqlite3.Connection) -> None:
    found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    names = {name for (name,) in found if not re.match(r"sqlite_|message_search_", name)}
    assert names == set(BOUNDS), "a table without a bound, or a bound without a table"
    for reason in BOUNDS.values():
        for function in re.findall(r"expiry\.(\w+)", reason):
            assert callable(getattr(expiry, function))
