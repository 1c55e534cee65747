"""Full text and lists: what is found is what a plain comparison finds, whatever was written, changed,
deleted."""

import asyncio
import random
import re
import sqlite3
import unicodedata
from functools import partial

import pytest
from messages_of import owner, phone

from appliance.model.device import Device
from appliance.model.ids import new_id
from appliance.model.message import Message, MessageStatus
from appliance.store import devices, expiry, message_list, messages, removal
from appliance.store.database import READERS, Database, Transaction
from appliance.store.message_list import Effort, Filters
from appliance.store.message_search import MOST_BEGINNINGS, MOST_WORDS, expression
from appliance.store.query import select

WORDS = ("halo", "Halo!", "besok", "pesanan", "Café", "olé", "0812-3456", "ok", "naïve", "日本語", "x" * 40)
LITTLE = Effort(first=5, longest=20, most=60)
CHECK = "INSERT INTO message_search (message_search, rank) VALUES ('integrity-check', 1)"


def message(device: Device, text: str | None, at: int = 1, **more: object) -> Message:
    row = Message(
        id=new_id(),
        account_id=device.account_id,
        device_id=device.id,
        wa_id=new_id(),
        chat="1@s.whatsapp.net",
        from_me=False,
        kind="text",
        type="conversation",
        text=text,
        created_at=at,
    )
    for name, value in more.items():
        setattr(row, name, value)
    return row


async def everything(db: Database, account_id: str, filters: Filters, limit: int = 7) -> list[Message]:
    """All pages of a list, each read with so little effort that many give up before they are full."""
    found: list[Message] = []
    before: int | None = None
    while True:
        page = await message_list.read(db.reader, account_id, filters, before, limit, LITTLE)
        assert len(page.messages) <= limit
        found += page.messages
        if page.before is None:
            return found
        before = page.before


async def hits(db: Database, device: Device, words: str) -> list[str | None]:
    found = await everything(db, device.account_id, Filters(words=words))
    return [row.text for row in found]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("halo", ["halo CAFÉ", "Halo dunia"]),
        ("HALO", ["halo CAFÉ", "Halo dunia"]),
        ("cafe", ["halo CAFÉ"]),
        ("dunia halo", ["Halo dunia"]),
        ('"halo dunia"', ["Halo dunia"]),
        ('"dunia halo"', []),
        ("hal", []),
        ("hal*", ["halo CAFÉ", "Halo dunia"]),
        ('"halo dun"*', ["Halo dunia"]),
        ("ha*", []),
        ('"halo du"*', []),
        ("no*", ["no 0812-3456"]),
        ("hal* hal* hal* hal*", ["halo CAFÉ", "Halo dunia"]),
        ("0812-3456", ["no 0812-3456"]),
        ("halo -dunia", ["Halo dunia"]),
        ("halo OR besok", []),
        ("text:halo", []),
        ("!!!", []),
        ("😀 *", []),
        ('"', []),
    ],
)
async def test_words_are_plain_words(db: Database, words: str, found: list[str]) -> None:
    device = await db.transaction(owner)
    for text in ("Halo dunia", "halo CAFÉ", "no 0812-3456", None):
        await db.transaction(partial(messages.insert, message=message(device, text)))
    assert await hits(db, device, words) == found


async def test_names_of_files_are_found(db: Database) -> None:
    device = await db.transaction(owner)
    row = message(device, None, filename="Invoice-2026 Été.pdf")
    await db.transaction(partial(messages.insert, message=row))
    assert len(await hits(db, device, "invoice")) == len(await hits(db, device, "ete pdf")) == 1


async def test_nobody_finds_what_another_wrote(db: Database) -> None:
    mine = await db.transaction(owner)
    theirs = await db.transaction(partial(owner, email="b@example.test"))
    await db.transaction(partial(messages.insert, message=message(theirs, "secret plan")))
    assert await hits(db, mine, "secret") == []
    assert await hits(db, mine, theirs.id) == []
    assert await hits(db, mine, f'x) OR ({{account_id}} : "{theirs.account_id}"') == []
    stolen = await everything(db, mine.account_id, Filters(device_id=theirs.id, words="secret"))
    assert stolen == []
    assert await hits(db, theirs, "secret") == ["secret plan"]


async def test_no_text_is_an_error(db: Database) -> None:
    device = await db.transaction(owner)
    await db.transaction(partial(messages.insert, message=message(device, "halo")))
    chance = random.Random(3)
    signs = "\"*:(){}^+-'\\\0%_ANDORNOTnear halo,é\u0301\u200b\ud7ff😀½٣"
    for _ in range(1500):
        typed = "".join(chance.choice(signs) for _ in range(chance.randrange(1, 24)))
        await hits(db, device, typed)
    assert expression("a " * 100, "c1") == expression("a " * MOST_WORDS, "c1")


def test_few_beginnings_are_looked_for() -> None:
    many = " ".join(f"word{n}*" for n in range(9))
    assert str(expression(many, "c1")).count("*") == MOST_BEGINNINGS
    for short in ("s*", "sa*", '"halo s"*', "halo-s*"):
        assert "*" not in str(expression(short, "c1")), short
    for long in ("hal*", "日*", '"halo dun"*'):
        assert "*" in str(expression(long, "c1")), long


async def test_searches_wait_for_each_other_and_for_nobody_else(db: Database) -> None:
    device = await db.transaction(owner)
    await db.transaction(partial(messages.insert, message=message(device, "halo")))
    async with db.reader.long_read:
        searches = [asyncio.create_task(hits(db, device, "halo")) for _ in range(READERS)]
        for _ in range(5):
            assert await everything(db, device.account_id, Filters())
        assert not any(search.done() for search in searches)
    assert await asyncio.gather(*searches) == [["halo"]] * READERS


async def test_the_index_keeps_in_step(db: Database) -> None:
    device = await db.transaction(owner)
    chance = random.Random(11)

    def text() -> str | None:
        return " ".join(chance.choices(WORDS, k=3)) if chance.random() < 0.8 else None

    def step(tx: Transaction, at: int) -> None:
        what = chance.random()
        known = tx.one(select(Message, "messages", "1 ORDER BY random() LIMIT 1"))
        if what < 0.2 and known is not None:
            known.text, known.filename = text(), chance.choice([None, "olé.pdf"])
            messages.replace_content(tx, known)
        elif what < 0.25:
            expiry.messages(tx, at - 100, 5)
        elif what < 0.3:
            devices.learn_pair(tx, device.id, "1@lid", "1@s.whatsapp.net")
        elif what < 0.31:
            gone = phone(tx, device.account_id)
            messages.insert(tx, message(gone, text()))
            removal.hide_device(tx, gone.account_id, gone.id)
            while removal.purge(tx, 10):
                pass
        else:
            filename = chance.choice([None, None, "Café.jpg"])
            no = messages.insert(tx, message(device, text(), at, filename=filename))
            assert tx.one(messages.by_no(no)) is not None

    for at in range(800):
        await db.transaction(partial(step, at=at))
    rows = await db.reader.all(select(Message, "messages", "1 ORDER BY no DESC"))
    for word in WORDS:
        assert await hits(db, device, word) == [row.text for row in rows if has(row, word)], word
    await db.transaction(lambda tx: tx.run(CHECK))


def has(row: Message, word: str) -> bool:
    """Whether the row has the word, by a comparison of its own."""
    return set(tokens(word)) <= set(tokens(f"{row.text or ''} {row.filename or ''}"))


def tokens(text: str) -> list[str]:
    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(c))
    return re.findall(r"\w+", plain)


async def test_a_broken_index_would_be_noticed(db: Database) -> None:
    """The check that the test above relies on can fail."""
    device = await db.transaction(owner)
    await db.transaction(partial(messages.insert, message=message(device, "halo")))
    sql = "INSERT INTO message_search (rowid, account_id, device_id, text) VALUES (1, 'a', 'b', 'stray')"
    await db.transaction(lambda tx: tx.run(sql))
    with pytest.raises(Exception, match=r"malformed|database"):
        await db.transaction(lambda tx: tx.run(CHECK))


async def test_the_index_survives_a_change_that_is_undone(db: Database) -> None:
    device = await db.transaction(owner)

    def fail(tx: Transaction) -> None:
        messages.insert(tx, message(device, "halo"))
        raise LookupError

    with pytest.raises(LookupError):
        await db.transaction(fail)
    assert await hits(db, device, "halo") == []
    await db.transaction(lambda tx: tx.run(CHECK))


async def test_every_filter_finds_what_a_plain_comparison_finds(db: Database) -> None:
    mine = await db.transaction(owner)
    second = await db.transaction(partial(phone, account_id=mine.account_id))
    theirs = await db.transaction(partial(owner, email="b@example.test"))
    chance = random.Random(5)
    rows = [one_of_many(chance, chance.choice([mine, mine, second, theirs]), at) for at in range(900)]

    def fill(tx: Transaction) -> None:
        for row in rows:
            row.no = messages.insert(tx, row)

    await db.transaction(fill)
    owned = [row for row in reversed(rows) if row.account_id == mine.account_id]
    for _ in range(60):
        filters = some_filters(chance, [mine.id, second.id])
        found = await everything(db, mine.account_id, filters)
        assert [row.no for row in found] == [row.no for row in owned if fits(row, filters)], filters


def one_of_many(chance: random.Random, device: Device, at: int) -> Message:
    failed = chance.random() < 0.05
    return message(
        device,
        " ".join(chance.choices(("halo", "besok", "ok"), k=2)),
        at,
        chat=f"{chance.randrange(6)}@s.whatsapp.net",
        participant=chance.choice([None, "5@s.whatsapp.net"]),
        from_me=chance.random() < 0.5,
        kind=chance.choice(["text", "image"]),
        status=MessageStatus.FAILED if failed else chance.choice(list(MessageStatus)[:4]),
        error_code="x" if failed else None,
    )


def some_filters(chance: random.Random, device_ids: list[str]) -> Filters:
    def maybe(value: object, share: float = 0.25) -> object:
        return value if chance.random() < share else None

    jids = tuple(f"{chance.randrange(7)}@s.whatsapp.net" for _ in range(chance.randrange(1, 3)))
    return Filters(
        device_id=maybe(chance.choice(device_ids)),  # type: ignore[arg-type]
        remote_jids=maybe(jids),  # type: ignore[arg-type]
        participant=maybe("5@s.whatsapp.net"),  # type: ignore[arg-type]
        from_me=maybe(True),  # type: ignore[arg-type]
        kind=maybe("image"),  # type: ignore[arg-type]
        status=maybe(chance.choice(["failed", "queued", "sending", "sent"])),  # type: ignore[arg-type]
        since=maybe(chance.randrange(900), 0.15),  # type: ignore[arg-type]
        until=maybe(chance.randrange(900), 0.15),  # type: ignore[arg-type]
        words=maybe(chance.choice(["halo", "ok besok", "bes*"])),  # type: ignore[arg-type]
    )


def fits(row: Message, filters: Filters) -> bool:
    """The same question, asked of one row."""
    words = {"halo": {"halo"}, "ok besok": {"ok", "besok"}, "bes*": {"besok"}}.get(filters.words or "", set())
    return (
        filters.device_id in {None, row.device_id}
        and (filters.remote_jids is None or row.chat in filters.remote_jids)
        and filters.participant in {None, row.participant}
        and filters.from_me in {None, row.from_me}
        and filters.kind in {None, row.kind}
        and filters.status in {None, str(row.status)}
        and (filters.since is None or row.created_at >= filters.since)
        and (filters.until is None or row.created_at < filters.until)
        and words <= set((row.text or "").split())
    )


def test_the_linked_sqlite_has_full_text() -> None:
    connection = sqlite3.connect(":memory:")
    options = {row[0] for row in connection.execute("PRAGMA compile_options")}
    connection.close()
    assert "ENABLE_FTS5" in options
