"""Conversations: newest first, each with its newest message, whatever happens to the messages."""

import random
from functools import partial
from typing import Any

import msgspec
from messages_of import newcomer, phone

from appliance.model.device import Device
from appliance.model.ids import new_id
from appliance.model.message import Message
from appliance.store import chats, devices, expiry, messages
from appliance.store.database import Database, Transaction
from appliance.store.query import Query, count


def message(device: Device, chat: str, text: str = "x", at: int = 1) -> Message:
    return Message(
        id=new_id(),
        account_id=device.account_id,
        device_id=device.id,
        wa_id=new_id(),
        chat=chat,
        from_me=False,
        kind="text",
        type="conversation",
        text=text,
        created_at=at,
    )


async def listed(db: Database, device: Device, *, only: bool = True) -> list[tuple[str, str | None]]:
    query = chats.page(device.account_id, device.id if only else None, None, 1000)
    return [(chat.chat, chat.text) for chat in await db.reader.all(query)]


async def test_the_chat_written_in_last_comes_first(db: Database) -> None:
    account = await db.transaction(newcomer)
    one = await db.transaction(lambda tx: phone(tx, account.id))
    two = await db.transaction(lambda tx: phone(tx, account.id))
    for device, chat, text in ((one, "a", "1"), (one, "b", "2"), (two, "a", "3"), (one, "a", "4" * 500)):
        await db.transaction(partial(messages.insert, message=message(device, chat, text)))
    assert await listed(db, one) == [("a", "4" * chats.EXCERPT), ("b", "2")]
    assert await listed(db, one, only=False) == [("a", "4" * chats.EXCERPT), ("a", "3"), ("b", "2")]
    first = (await db.reader.all(chats.page(account.id, None, None, 1)))[0]
    rest = await db.reader.all(chats.page(account.id, None, first.no, 10))
    assert [chat.text for chat in rest] == ["3", "2"]


async def test_another_account_sees_nothing(db: Database) -> None:
    account = await db.transaction(newcomer)
    stranger = await db.transaction(lambda tx: newcomer(tx, "b@example.test"))
    device = await db.transaction(lambda tx: phone(tx, account.id))
    await db.transaction(lambda tx: messages.insert(tx, message(device, "a")))
    assert await db.reader.all(chats.page(stranger.id, device.id, None, 10)) == []
    assert await db.reader.one(chats.of(stranger.id, device.id, "a")) is None
    assert await db.reader.one(chats.of(account.id, device.id, "a")) is not None


async def test_a_groups_subject_is_its_name_and_else_what_the_other_side_calls_itself(db: Database) -> None:
    account = await db.transaction(newcomer)
    device = await db.transaction(lambda tx: phone(tx, account.id))

    def fill(tx: Transaction) -> None:
        for chat in ("1@s.whatsapp.net", "2@g.us", "3@s.whatsapp.net"):
            messages.insert(tx, message(device, chat))
        chats.learn_name(tx, device.id, "1@s.whatsapp.net", "Budi")
        devices.name_chat(tx, device.id, "2@g.us", "Family")

    await db.transaction(fill)
    found = await db.reader.all(chats.page(account.id, None, None, 10))
    assert [chat.name for chat in found] == [None, "Family", "Budi"]


async def test_a_repeat_is_the_same_id_of_the_same_author_in_the_same_chat(db: Database) -> None:
    account = await db.transaction(newcomer)
    device, other = [await db.transaction(lambda tx: phone(tx, account.id)) for _ in range(2)]
    first = message(device, "a")
    no = await db.transaction(lambda tx: messages.insert(tx, first))
    ends_alike = f"0{first.wa_id}"
    cases: tuple[tuple[str, dict[str, Any], bool], ...] = (
        ("a", {}, True),
        ("b", {}, False),
        ("a", {"wa_id": ends_alike}, False),
        ("a", {"from_me": not first.from_me}, False),
        ("a", {"participant": "p"}, False),
        ("a", {"device_id": other.id}, False),
    )
    for chat, changes, is_repeat in cases:
        again = msgspec.structs.replace(message(device, chat), **{"wa_id": first.wa_id, **changes})
        known = await db.reader.one(messages.repeat_of(again))
        assert (known is not None and known.no == no) is is_repeat, changes


async def test_what_stands_under_the_phone_already_stays_under_the_lid(db: Database) -> None:
    account = await db.transaction(newcomer)
    device = await db.transaction(lambda tx: phone(tx, account.id))
    known = message(device, "1@s.whatsapp.net")
    twice = msgspec.structs.replace(message(device, "1@lid"), wa_id=known.wa_id)

    def fill(tx: Transaction) -> None:
        for each in (known, twice, message(device, "1@lid")):
            messages.insert(tx, each)
        devices.learn_pair(tx, device.id, "1@lid", "1@s.whatsapp.net")

    await db.transaction(fill)
    chats_of = Query("SELECT chat FROM messages ORDER BY no", (), lambda row: str(row[0]))
    assert await db.reader.all(chats_of) == ["1@s.whatsapp.net", "1@lid", "1@s.whatsapp.net"]


async def test_chats_follow_whatever_happens_to_messages(db: Database) -> None:
    account = await db.transaction(newcomer)
    device = await db.transaction(lambda tx: phone(tx, account.id))
    chance = random.Random(7)
    newest = Query(
        "SELECT chat, max(no) FROM messages GROUP BY chat ORDER BY 2 DESC", (), lambda row: (row[0], row[1])
    )
    kept = count("SELECT count(*) FROM chats")

    def step(tx: Transaction, at: int) -> None:
        what = chance.random()
        if what < 0.1:
            n = chance.randrange(10)
            devices.learn_pair(tx, device.id, f"{n}@lid", f"{n}@s.whatsapp.net")
        elif what < 0.2:
            expiry.messages(tx, at - 30, 10)
        else:
            server = "lid" if chance.random() < 0.3 else "s.whatsapp.net"
            messages.insert(tx, message(device, f"{chance.randrange(10)}@{server}", at=at))

    for at in range(400):
        await db.transaction(partial(step, at=at))
        if at % 20 == 0:
            found = await db.reader.all(chats.page(account.id, device.id, None, 100))
            assert [(chat.chat, chat.no) for chat in found] == await db.reader.all(newest)
            assert await db.reader.one(kept) == len(found)
