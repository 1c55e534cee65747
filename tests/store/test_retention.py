"""Retention: what is old goes, what is still needed stays, and a gap in the events is remembered."""

from pathlib import Path

from messages_of import message, owner

from appliance.model.event import Event, EventType
from appliance.model.message import MessageStatus
from appliance.store import events, expiry, figures, messages
from appliance.store.database import Database, StoreSettings, Transaction
from appliance.store.migrate import migrate
from appliance.store.query import count

OLD, NEW, BEFORE = 1_000, 9_000_000_000, 1_000_000


async def test_old_messages_go_but_not_those_that_wait(db: Database) -> None:
    device = await db.transaction(owner)
    states = [(OLD, None), (OLD, MessageStatus.READ), (OLD, MessageStatus.QUEUED), (NEW, None)]

    def fill(tx: Transaction) -> None:
        for at, status in states:
            messages.insert(tx, message(device, at, status))

    await db.transaction(fill)
    assert await db.transaction(lambda tx: expiry.messages(tx, BEFORE, 1)) == 1
    assert await db.transaction(lambda tx: expiry.messages(tx, BEFORE, 500)) == 1
    assert await db.transaction(lambda tx: expiry.messages(tx, BEFORE, 500)) == 0
    assert await db.reader.one(count("SELECT count(*) FROM messages")) == 2


async def test_free_pages_are_given_back_and_the_file_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    migrate(path, StoreSettings())
    db = Database(path, StoreSettings())
    await db.open()
    device = await db.transaction(owner)

    def fill(tx: Transaction) -> None:
        for _ in range(3000):
            row = message(device, OLD, None)
            row.content = b"x" * 1000
            messages.insert(tx, row)

    await db.transaction(fill)
    while await db.transaction(lambda tx: expiry.messages(tx, BEFORE, 500)):
        pass
    full = (await db.reader.all(figures.room()))[0]
    assert full.free > full.file * 0.8
    assert await db.transaction(lambda tx: expiry.give_back(tx, 100)) == 100
    assert (await db.reader.all(figures.room()))[0].free == full.free - 100 * full.page
    free = full.free // full.page
    assert await db.transaction(lambda tx: expiry.give_back(tx, 10_000)) == free - 100
    await db.close()
    assert path.stat().st_size < full.file * 0.2


async def test_deleted_events_leave_a_floor(db: Database) -> None:
    device = await db.transaction(owner)

    def fill(tx: Transaction) -> None:
        for no, at in ((1, OLD), (2, OLD), (3, NEW)):
            told = Event(
                no=no,
                account_id=device.account_id,
                device_id=device.id,
                type=EventType.MESSAGE_RECEIVED,
                body=b"{}",
                crc=events.crc(b"{}"),
                created_at=at,
            )
            events.insert(tx, told)

    await db.transaction(fill)
    await db.transaction(lambda tx: events.delete(tx, tx.all(events.aged(BEFORE, 500))))
    assert await db.reader.one(events.floor(device.account_id)) == 2
    assert [e.no for e in await db.reader.all(events.after(device.account_id, 0, 10))] == [3]
    assert await db.reader.one(events.highest()) == 3
