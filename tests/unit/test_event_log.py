"""The event log and those who follow it: nothing is skipped, nothing told twice, what is gone is told."""

import asyncio
import gc
import random
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from patience import PATIENCE_S

from appliance.api.event_stream import EventStream
from appliance.api.event_tape import KEPT_EVENTS, Tape, Wanted
from appliance.config import Config
from appliance.house import House, build
from appliance.model.account import Account
from appliance.model.event import EventType, NewEvent
from appliance.store import events
from appliance.store.database import Database, StoreSettings, Transaction
from appliance.store.migrate import migrate

# Of the framework, at every start.
pytestmark = pytest.mark.filterwarnings(
    "ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning"
)
WRITERS, EACH = 6, 60


class OnPurpose(Exception):
    """A change that fails after it has written."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Everything but the server and the loops, over a database of its own."""
    migrate(tmp_path / "gateway.db", StoreSettings())
    db = Database(tmp_path / "gateway.db", StoreSettings())
    await db.open()
    try:
        house = build(Config(data_dir=str(tmp_path)), db)
        await house.open()
        yield house
        house.close()
    finally:
        await db.close()


@pytest.fixture
async def owner(house: House) -> Account:
    account, _ = await house.gateway.accounts.create("a@example.test", "A", "a long password", "user")
    return account


def told(account: Account, device: str, kind: EventType, text: str = "x") -> NewEvent:
    return NewEvent(account.id, device, kind, {"deviceId": device, "text": text})


async def write(house: House, *new: NewEvent) -> list[int]:
    """Commit the events together and wake whoever follows."""

    def work(tx: Transaction) -> list[int]:
        return [house.gateway.events.append(tx, each) for each in new]

    numbers = await house.db.transaction(work)
    house.gateway.events.wake(new[0].account_id)
    return numbers


class Follower:
    """One client of a stream: it remembers the numbers it was told, and may dawdle, go and come back."""

    def __init__(
        self, house: House, account: Account, types: tuple[EventType, ...] = (), **kind: Any
    ) -> None:
        self.ids: list[int] = []
        self.names: list[str] = []
        self.data: list[Any] = []
        self._house = house
        self._account = account
        self._types = types
        self._device: str | None = kind.get("device")
        self._pause: Callable[[], float] = kind.get("pause", lambda: 0.0)
        self._comes_back = kind.get("comes_back", 0.0)

    async def follow(self, after: int, until: Callable[[], bool]) -> None:
        """Take chunks from number `after` on until `until`."""
        while not until():
            stream = EventStream(self._house.gateway, self._account, self._device, self._types, after)
            chunks = stream.chunks(self._house.app.streams)
            async for chunk in chunks:
                self._take(chunk)
                after = self.ids[-1] if self.ids else after
                if until() or random.random() < self._comes_back:
                    break
                await asyncio.sleep(self._pause())
            await chunks.aclose()  # type: ignore[attr-defined]

    def _take(self, chunk: bytes) -> None:
        for block in chunk.decode().strip("\n").split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
            if "id" in fields:
                self.ids.append(int(fields["id"]))
            if "data" in fields:
                self.names.append(fields["event"])
                self.data.append(msgspec.json.decode(fields["data"]))


async def test_every_follower_is_told_exactly_what_was_committed_in_order(
    house: House, owner: Account
) -> None:
    other, _ = await house.gateway.accounts.create("b@example.test", "B", "a long password", "user")
    kinds = (EventType.MESSAGE_RECEIVED, EventType.MESSAGE_STATUS)
    done = False

    async def writer(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(EACH):
            account = owner if dice.random() < 0.8 else other
            new = [
                told(account, dice.choice("ab"), dice.choice(kinds), "y" * dice.randrange(4000))
                for _ in range(dice.randrange(1, 5))
            ]
            if dice.random() < 0.3:
                with pytest.raises(OnPurpose):
                    await house.db.transaction(lambda tx, new=new: fail(tx, new))  # type: ignore[misc]
            else:
                await write(house, *new)
            if dice.random() < 0.2:
                await asyncio.sleep(dice.random() / 100)

    def fail(tx: Transaction, new: list[NewEvent]) -> None:
        for each in new:
            house.gateway.events.append(tx, each)
        raise OnPurpose

    async def committed(types: tuple[EventType, ...] = (), device: str | None = None) -> list[int]:
        found = await house.db.reader.all(events.after(owner.id, 0, 100_000, types, device))
        return [event.no for event in found]

    crowd = [
        (Follower(house, owner), ()),
        (Follower(house, owner, pause=lambda: random.random() / 20), ()),
        (Follower(house, owner, comes_back=0.3), ()),
        (Follower(house, owner, (kinds[0],), comes_back=0.05), (kinds[0],)),
        (Follower(house, owner, pause=lambda: 0.0 if random.random() < 0.9 else 0.2, comes_back=0.05), ()),
        *((Follower(house, owner), ()) for _ in range(5)),
    ]
    everything: dict[tuple[EventType, ...], int] = {}
    tasks = [
        asyncio.create_task(
            follower.follow(0, lambda f=follower, t=types: done and len(f.ids) >= everything[t])  # type: ignore[misc]
        )
        for follower, types in crowd
    ]
    await asyncio.gather(*(writer(seed) for seed in range(WRITERS)))
    everything = {types: len(await committed(types)) for _, types in crowd}
    done = True
    # Whoever was told everything already hears of it by one event more.
    [last] = await write(house, told(owner, "a", kinds[0], "the last"))
    everything = {types: count + 1 for types, count in everything.items()}
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)
    highest = await house.db.reader.one(events.highest())
    assert highest == last
    assert len(await committed()) < last - WRITERS, "no change was undone: nothing was tested"
    for follower, types in crowd:
        assert follower.ids == await committed(types)
        assert "gap" not in follower.names


async def test_a_reader_slower_than_retention_is_told_of_the_gap(house: House, owner: Account) -> None:
    """It reads one part, sleeps while everything it has not read is deleted, and reads on."""
    numbers = await write(
        house, *(told(owner, "a", EventType.MESSAGE_STATUS, "z" * 20_000) for _ in range(9))
    )
    stream = EventStream(house.gateway, owner, None, (), 0)
    chunks = stream.chunks(house.app.streams)
    follower = Follower(house, owner)
    while not follower.ids:
        follower._take(await anext(chunks))
    first = len(follower.ids)
    assert first < len(numbers)
    await delete_up_to(house, owner, numbers[-2])
    while len(follower.ids) == first:
        follower._take(await anext(chunks))
    await chunks.aclose()  # type: ignore[attr-defined]
    assert follower.names[first] == "gap"
    assert follower.data[first] == {"oldest": numbers[-1]}
    assert follower.ids[first:] == [numbers[-1]]


async def test_a_tape_that_slept_through_retention_does_not_jump_over_the_hole(
    house: House, owner: Account
) -> None:
    tape = Tape(house.gateway.events, owner.id, 0)
    [first] = await write(house, told(owner, "a", EventType.MESSAGE_STATUS))
    part = await tape.after(0, Wanted())
    assert part is not None
    assert part.upto == first
    numbers = await write(house, *(told(owner, "a", EventType.MESSAGE_STATUS) for _ in range(3)))
    await delete_up_to(house, owner, numbers[0])
    tape.changed()
    assert await tape.after(first, Wanted()) is None


async def test_what_is_committed_while_a_tape_is_being_read_is_read_next(
    house: House, owner: Account
) -> None:
    tape = Tape(house.gateway.events, owner.id, 0)
    house.gateway.events.on_wake.append(lambda _: tape.changed())
    after = 0
    for _ in range(50):
        writing = asyncio.create_task(write(house, told(owner, "a", EventType.MESSAGE_STATUS)))
        while not writing.done():
            tape.changed()
            await tape.after(after, Wanted())
        [no] = await writing
        part = await tape.after(after, Wanted())
        assert part is not None
        assert part.upto == no
        after = no


async def test_who_no_longer_waits_for_a_message_leaves_nothing_behind(house: House) -> None:
    log = house.gateway.events
    waiting, gone = log.expect("waiting"), weakref.ref(log.expect("gone"))
    gc.collect()
    assert gone() is None
    log.was_told("waiting", 7)
    assert await waiting == 7


async def test_a_tape_forgets_the_oldest_and_says_so(house: House, owner: Account) -> None:
    tape = Tape(house.gateway.events, owner.id, 0)
    for _ in range(0, KEPT_EVENTS + 64, 32):
        await write(house, *(told(owner, "a", EventType.MESSAGE_STATUS) for _ in range(32)))
        tape.changed()
        await tape.after(0, Wanted())
    assert await tape.after(0, Wanted()) is None
    assert (await tape.after(KEPT_EVENTS, Wanted())) is not None


async def test_a_narrow_follower_does_not_fall_behind_what_is_kept(house: House, owner: Account) -> None:
    """Nothing of what it asked for is deleted, so it misses nothing."""
    page = await house.gateway.events.read(owner.id, 0, 10, (EventType.DEVICE_STATUS,))
    numbers = await write(house, *(told(owner, "a", EventType.MESSAGE_STATUS) for _ in range(5)))
    page = await house.gateway.events.read(owner.id, page.upto, 10, (EventType.DEVICE_STATUS,))
    assert (page.events, page.upto) == ([], numbers[-1])
    await delete_up_to(house, owner, numbers[-1])
    page = await house.gateway.events.read(owner.id, page.upto, 10, (EventType.DEVICE_STATUS,))
    assert page.floor <= page.upto


async def test_a_ticket_of_a_rotated_key_opens_nothing(house: House, owner: Account) -> None:
    ticket, _ = await house.gateway.tickets.mint(owner, None)
    opening = asyncio.create_task(house.gateway.tickets.open(ticket, None))
    await house.gateway.accounts.rotate_key(owner)
    found = await opening
    assert found is None or found.key_hash == owner.key_hash


async def delete_up_to(house: House, account: Account, no: int) -> None:
    def work(tx: Transaction) -> None:
        aged = tx.all(events.aged(1 << 60, 1000))
        events.delete(tx, [each for each in aged if each.account_id == account.id and each.no <= no])

    await house.db.transaction(work)
