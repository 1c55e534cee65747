"""Removal: what is deleted is found by nobody from then on, and its rows go a few at a time, whatever comes
between."""

from functools import partial

from messages_of import message, owner

from appliance.gateway.removal import Removal
from appliance.model.device import Device
from appliance.model.event import Event, EventType
from appliance.model.ids import new_id
from appliance.model.message import MessageStatus
from appliance.model.webhook import Attempt, Delivery, DeliveryStatus
from appliance.store import (
    chats,
    deliveries,
    delivery_queue,
    devices,
    events,
    message_list,
    messages,
    removal,
    webhooks,
)
from appliance.store.database import Database, Transaction
from appliance.store.delivery_queue import Recorded
from appliance.store.message_list import Filters
from appliance.store.query import count

MANY = 40
TABLES = ("messages", "events", "deliveries", "attempts", "chats", "jid_pairs", "devices", "endpoints")
ENDPOINT = (
    "INSERT INTO endpoints (id, account_id, device_id, url, events, filters, secret_sealed, "
    "redirect_is_success, enabled, status, catching_up, created_at) "
    "VALUES (?, ?, ?, 'http://x', CAST('[]' AS BLOB), CAST('{}' AS BLOB), x'00', 0, 1, 'ok', 0, 0)"
)


def another(tx: Transaction, device: Device) -> Device:
    second = Device(
        id=new_id(), account_id=device.account_id, name="e", sandbox=True, status=device.status, created_at=0
    )
    devices.insert(tx, second)
    return second


def belongings(tx: Transaction, device: Device, endpoint_id: str, first: int) -> None:
    """Messages of the device, told to the endpoint."""
    for n in range(first, first + MANY):
        row = message(device, n, MessageStatus.QUEUED if n % 10 == 0 else None)
        row.chat, row.text, row.told = f"{n}@lid", "halo", n % 7 > 0
        messages.insert(tx, row)
        devices.learn_pair(tx, device.id, f"{n}@lid", f"{n}@s.whatsapp.net")
        kind = EventType.MESSAGE_RECEIVED
        events.insert(
            tx,
            Event(
                no=n,
                account_id=device.account_id,
                device_id=device.id,
                type=kind,
                body=b"{}",
                crc=0,
                created_at=n,
            ),
        )
        delivery = Delivery(
            id=new_id(),
            account_id=device.account_id,
            endpoint_id=endpoint_id,
            device_id=device.id,
            event_no=n,
            event_type=kind,
            due_at=n,
            created_at=n,
        )
        attempt = Attempt(delivery_no=deliveries.insert(tx, delivery), n=1, at=n, duration_ms=5)
        delivery_queue.record(tx, Recorded(attempt, endpoint_id, DeliveryStatus.DELIVERED, step=0, due_at=n))


async def filled(db: Database) -> tuple[Device, Device]:
    """Two devices of one account, each with belongings and a webhook of its own."""

    def write(tx: Transaction) -> tuple[Device, Device]:
        kept = owner(tx)
        gone = another(tx, kept)
        for device, first in ((kept, 1), (gone, 1001)):
            tx.run(ENDPOINT, f"w-{first}", device.account_id, device.id)
            belongings(tx, device, f"w-{first}", first)
        return kept, gone

    return await db.transaction(write)


async def rows(db: Database) -> dict[str, int]:
    return {t: await db.reader.one(count(f"SELECT count(*) FROM {t}")) or 0 for t in TABLES}


async def found(db: Database, account_id: str) -> set[str]:
    """The devices that the account's lists tell of."""
    filters = (Filters(), Filters(words="halo"), Filters(status="queued"), Filters(kind="text", since=0))
    lists = [await message_list.read(db.reader, account_id, each, None, 200) for each in filters]
    seen = {row.device_id for each in lists for row in each.messages}
    seen |= {row.device_id for row in await db.reader.all(chats.page(account_id, None, None, 200))}
    seen |= {row.id for _, row in await db.reader.all(devices.page(account_id, None, 200))}
    seen |= {row.id for row in await db.reader.all(devices.everywhere())}
    return seen | {
        row.device_id or "" for _, row in await db.reader.all(webhooks.page(account_id, None, 200))
    }


async def test_a_deleted_device_is_found_by_nobody_before_its_rows_are_gone(db: Database) -> None:
    kept, gone = await filled(db)
    [theirs, *_] = (
        await message_list.read(db.reader, gone.account_id, Filters(device_id=gone.id), None, 9)
    ).messages
    before = await rows(db)
    assert await found(db, gone.account_id) == {kept.id, gone.id}
    await db.transaction(lambda tx: removal.hide_device(tx, gone.account_id, gone.id))
    assert await found(db, gone.account_id) == {kept.id}
    assert await db.reader.one(messages.by_id(gone.account_id, theirs.id)) is None
    assert await db.reader.one(devices.of_any_account(gone.id)) is None
    assert await db.reader.all(webhooks.of_any_account('["w-1001"]')) == []
    assert (await rows(db))["messages"] > before["messages"] // 2, "they go in the background"


async def test_the_rows_go_a_few_at_a_time_and_nobody_elses(db: Database) -> None:
    kept, gone = await filled(db)
    before = await rows(db)
    await db.transaction(lambda tx: removal.hide_device(tx, gone.account_id, gone.id))
    steps = 0
    while await db.transaction(partial(removal.purge, limit=10)):
        after = await rows(db)
        steps += 1
        assert after["devices"] == 2 or after["messages"] == MANY, "the device's row goes last"
    assert steps > 4 * MANY // 10
    assert await rows(db) == {table: number // 2 for table, number in before.items()}
    assert await found(db, gone.account_id) == {kept.id}
    check = "INSERT INTO message_search (message_search, rank) VALUES ('integrity-check', 1)"
    await db.transaction(lambda tx: tx.run(check))


async def test_a_deleted_webhook_is_not_delivered_to_and_goes(db: Database) -> None:
    kept, _ = await filled(db)
    assert not await db.transaction(lambda tx: removal.hide_endpoint(tx, "somebody", "w-1"))
    assert await db.transaction(lambda tx: removal.hide_endpoint(tx, kept.account_id, "w-1"))
    assert [work.endpoint_id for work in await db.reader.all(delivery_queue.work([]))] == ["w-1001"]
    await Removal(db).purge()
    left = await rows(db)
    assert (left["endpoints"], left["deliveries"], left["attempts"]) == (1, MANY, MANY)
    assert (left["messages"], left["events"]) == (2 * MANY, 2 * MANY)
    assert await db.reader.one(removal.left()) == 0


async def test_a_start_goes_on_with_what_is_left(db: Database) -> None:
    _, gone = await filled(db)
    await db.transaction(lambda tx: removal.hide_device(tx, gone.account_id, gone.id))
    await db.transaction(partial(removal.purge, limit=10))
    assert await Removal(db).purge() > 0
    assert (await rows(db))["devices"] == 1
    assert await Removal(db).purge() == 0
