"""A message that nothing is before is claimed by the transaction that accepts it: one commit less, the same
order, and every message sent once, whoever goes away meanwhile."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from patience import PATIENCE_S

from appliance import data_dir
from appliance.config import Config
from appliance.engine.base import Applied, Incoming, SendEnded, Sent, StateChanged
from appliance.gateway.drafts import Draft
from appliance.gateway.outbox import Accepted, Idempotency
from appliance.house import House, build
from appliance.model.account import Account
from appliance.model.device import Device, DeviceStatus
from appliance.model.jid import recipient
from appliance.model.message import Message, MessageStatus
from appliance.store import devices, messages
from appliance.store.database import Database, Transaction
from appliance.store.migrate import migrate

pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")
TO, SLOWLY = "999000000001", "999000000005"
"""The second one's phone takes a message after 20 s."""


class Shop:
    """A house without its HTTP server, an account in it, and a connected sandbox device."""

    def __init__(self, house: House, account: Account, device: Device) -> None:
        self.house = house
        self.account = account
        self._device_id = device.id

    @property
    def device(self) -> Device:
        device = self.house.gateway.devices.known(self._device_id)
        assert device is not None
        return device

    async def accept(
        self, text: str, to: str = TO, *, at_once: bool = True, key: str | None = None
    ) -> Accepted:
        draft = Draft(to=recipient(to, None), kind="text", text=text)
        once = Idempotency(key, text.encode()) if key is not None else None
        outbox = self.house.gateway.outbox
        return await outbox.accept(self.account, self.device, draft, once, at_once=at_once)

    async def sent(self, message: Message) -> Message:
        return await self.house.gateway.outbox.wait(self.account, message, PATIENCE_S)

    async def state(self, status: DeviceStatus) -> None:
        await self.house.gateway.sandbox.state(self.account.id, self.device.id, StateChanged(status))

    async def sent_texts(self) -> list[str]:
        """The texts of the messages in the order in which they were told as sent."""
        page = await self.house.gateway.events.page(self.account.id, 0, 200)
        told = [msgspec.json.decode(event.data) for event in page if event.type == "message.status"]
        ids = [data["id"] for data in told if data["status"] == "sent"]
        texts = []
        for each in ids:
            message = await self.house.db.reader.one(messages.by_our_id(each))
            assert message is not None
            texts.append(str(message.text))
        return texts[1:]

    @property
    def waiting(self) -> int:
        return self.house.gateway.outbox.waiting(self.device.id)

    @property
    def is_idle(self) -> bool:
        """The device's place to send from is free, and nobody was told to look."""
        drains = self.house.drains
        return not drains._running and drains._kicks.empty()

    @property
    def tokens_taken(self) -> int:
        rate = self.house.gateway.limits.state(self.device.id)
        return rate.limit - rate.remaining - 1


@asynccontextmanager
async def life(folder: Path) -> AsyncIterator[House]:
    """One life of a house; its parts begin and end as in the runtime."""
    config = Config(data_dir=str(folder))
    path = data_dir.database_path(config.data)
    migrate(path, config.store)
    db = Database(path, config.store)
    await db.open()
    try:
        house = build(config, db)
        await house.open()
        await house.engines.sandbox.open(house.inbound.put)
        await house.drains.recover()
        loops = [asyncio.create_task(each) for each in (house.inbound.run(), house.drains.run())]
        await house.gateway.devices.resume()
        yield house
        await house.gateway.devices.stop()
        await house.engines.sandbox.close()
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        house.close()
    finally:
        await db.close()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with life(tmp_path) as house:
        gateway = house.gateway
        account, _ = await gateway.accounts.create("owner@example.test", "Owner", "a long password", "admin")
        device = await gateway.devices.create(account, "one", sandbox=True)
        await gateway.devices.connect(account.id, device.id)
        await eventually(lambda: gateway.devices.current_qr(device.id))
        await gateway.sandbox.scan(account.id, device.id)
        made = Shop(house, account, device)
        # The drain looks for what waits when the device is connected, and once more after what was sent.
        await made.sent((await made.accept("before all", at_once=False)).message)
        await eventually(lambda: made.is_idle)
        yield made


async def eventually(check: Callable[[], Any]) -> None:
    """Look whenever the loop has gone round."""
    async with asyncio.timeout(PATIENCE_S):
        while not check():  # noqa: ASYNC110 (threads of the house set no event)
            await asyncio.sleep(0)


@asynccontextmanager
async def held_up(db: Database) -> AsyncIterator[None]:
    """The writer is busy: what is asked for meanwhile waits."""
    busy, may_end = threading.Event(), threading.Event()

    def work(_tx: Transaction) -> None:
        busy.set()
        assert may_end.wait(PATIENCE_S)

    change = asyncio.create_task(db.transaction(work))
    await eventually(busy.is_set)
    try:
        yield
    finally:
        may_end.set()
        await change


async def test_a_message_that_somebody_waits_for_costs_two_commits(shop: Shop) -> None:
    costs = []
    for _ in range(3):
        before = shop.house.db.commits
        accepted = await shop.accept("Halo!")
        assert accepted.message.status is MessageStatus.SENDING
        assert (await shop.sent(accepted.message)).status is MessageStatus.SENT
        costs.append(shop.house.db.commits - before)
    assert min(costs) == 2  # once a second, expired messages are looked for besides
    assert (shop.waiting, shop.tokens_taken) == (0, 3)


async def test_a_message_that_nobody_waits_for_is_queued(shop: Shop) -> None:
    accepted = await shop.accept("Halo!", at_once=False)
    assert accepted.message.status is MessageStatus.QUEUED
    assert (await shop.sent(accepted.message)).status is MessageStatus.SENT
    assert shop.waiting == 0


async def test_behind_another_one_it_is_queued(shop: Shop) -> None:
    first = await shop.accept("first", SLOWLY)
    second = await shop.accept("second")
    assert [first.message.status, second.message.status] == [MessageStatus.SENDING, MessageStatus.QUEUED]
    for _ in range(20):
        await shop.house.db.transaction(lambda _tx: None)
    left = await shop.house.db.reader.one(messages.by_our_id(second.message.id))
    assert left is not None
    assert (left.status, shop.waiting) == (MessageStatus.QUEUED, 2)


async def test_on_a_device_that_is_away_it_is_queued_and_sent_when_it_is_back(shop: Shop) -> None:
    await shop.state(DeviceStatus.RECONNECTING)
    accepted = await shop.accept("Halo!")
    assert accepted.message.status is MessageStatus.QUEUED
    await shop.state(DeviceStatus.CONNECTED)
    assert (await shop.sent(accepted.message)).status is MessageStatus.SENT


async def test_side_by_side_they_go_out_in_the_order_of_their_rows(shop: Shop) -> None:
    wishes = [shop.accept(f"text {n}", at_once=n % 3 != 1) for n in range(25)]
    accepted = await asyncio.gather(*wishes)
    await asyncio.gather(*(shop.sent(each.message) for each in accepted))
    in_rows = sorted((each.message for each in accepted), key=lambda message: message.no)
    assert await shop.sent_texts() == [message.text for message in in_rows]
    assert (shop.waiting, shop.tokens_taken) == (0, 25)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_caller_who_goes_away_leaves_a_message_that_is_sent_once(shop: Shop, at_once: bool) -> None:
    async with held_up(shop.house.db):
        leaving = asyncio.create_task(shop.accept("left behind", at_once=at_once))
        await eventually(lambda: shop.waiting)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    await eventually(lambda: not shop.waiting)
    after = await shop.accept("after")
    await shop.sent(after.message)
    assert await shop.sent_texts() == ["left behind", "after"]
    assert (shop.waiting, shop.tokens_taken) == (0, 2)


async def test_what_was_put_back_while_the_device_was_unlinked_is_not_sent_from_the_next_account(
    shop: Shop,
) -> None:
    """A send that was under way then may end as one to be tried again, after all others have failed."""
    message = (await shop.accept("from the old account", at_once=False)).message
    await shop.sent(message)
    await shop.state(DeviceStatus.LOGGED_OUT)
    await eventually(lambda: shop.device.status is DeviceStatus.LOGGED_OUT)
    put_back = "UPDATE messages SET status = 'queued', wa_id = NULL WHERE no = ?"
    await shop.house.db.transaction(lambda tx: tx.run(put_back, message.no))
    await shop.house.gateway.devices.connect(shop.account.id, shop.device.id)
    await eventually(lambda: shop.house.gateway.devices.current_qr(shop.device.id))
    await shop.house.gateway.sandbox.scan(shop.account.id, shop.device.id)
    after = (await shop.accept("from the new account")).message
    assert (await shop.sent(after)).status is MessageStatus.SENT
    before = await shop.house.db.reader.one(messages.by_our_id(message.id))
    assert before is not None
    assert (before.status, before.error_code) == (MessageStatus.FAILED, "device_logged_out")


async def test_a_caller_who_goes_away_before_anything_is_stored_leaves_nothing(shop: Shop) -> None:
    async with held_up(shop.house.db):
        first = asyncio.create_task(shop.accept("once", key="k"))
        await eventually(lambda: shop.waiting)
        repeat = asyncio.create_task(shop.accept("once", key="k"))
        await asyncio.sleep(0)
        repeat.cancel()
        await asyncio.gather(repeat, return_exceptions=True)
    await shop.sent((await first).message)
    assert (shop.waiting, shop.tokens_taken) == (0, 1)


async def test_a_repeat_gives_the_place_back(shop: Shop) -> None:
    """The repeat asks while the first one is not yet on disk, through another outbox's eyes: its key is found
    only within the transaction."""
    message = (await shop.accept("once", key="k")).message
    await shop.sent(message)
    once = Idempotency("k", b"once")
    draft = Draft(to=recipient(TO, None), kind="text", text="once")
    repeated = await shop.house.gateway.outbox._accept_new(shop.account, shop.device, draft, once, True)
    assert (repeated.replayed, repeated.message.id) == (True, message.id)
    assert (shop.waiting, shop.tokens_taken) == (0, 1)
    assert (await shop.accept("next")).message.status is MessageStatus.SENDING


async def test_what_is_refused_by_the_store_gives_everything_back(shop: Shop) -> None:
    """The key is taken by another request: the refusal comes out of the transaction."""
    await shop.sent((await shop.accept("one thing", key="k")).message)
    once = Idempotency("k", b"another thing")
    draft = Draft(to=recipient(TO, None), kind="text", text="another thing")
    with pytest.raises(Exception, match="something else"):
        await shop.house.gateway.outbox._accept_new(shop.account, shop.device, draft, once, True)
    assert (shop.waiting, shop.tokens_taken) == (0, 1)
    assert (await shop.accept("next")).message.status is MessageStatus.SENDING


async def test_a_sends_end_that_is_known_already_writes_nothing(shop: Shop) -> None:
    """Not even the mark of how far its worker's events were applied: a COMMIT of nothing syncs no disk."""
    message = await shop.sent((await shop.accept("Halo!")).message)
    acknowledged: list[Applied | None] = []
    ended = SendEnded(message.id, Sent("another id", 1))
    for _ in range(2):
        await shop.house.inbound.put(Incoming(shop.device.id, ended, acknowledged.append, 7, 1))
    await shop.house.inbound.drained()
    assert len(acknowledged) == 2
    assert await shop.house.db.reader.one(devices.applied_up_to(shop.device.id, 7)) is None
    left = await shop.house.db.reader.one(messages.by_our_id(message.id))
    assert left is not None
    assert (left.status, left.wa_id) == (MessageStatus.SENT, message.wa_id)
