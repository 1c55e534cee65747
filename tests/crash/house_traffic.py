"""Mixed traffic through the house's own parts in this process, and a ledger of what was told outside.

Every entry of the ledger holds the position of the disk's tape at the moment it was told: from there on a
power cut must not take it back.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from clock import HandClock
from delivery_rig import eventually
from receiver import Received, Receiver

from appliance import data_dir
from appliance.config import Config
from appliance.engine.base import Applied, Incoming, MessageIn
from appliance.gateway.drafts import Draft
from appliance.gateway.limits import LimitSettings
from appliance.gateway.outbox import Idempotency
from appliance.gateway.retention import Retention, RetentionSettings
from appliance.gateway.webhooks import EndpointChange, WebhookSettings
from appliance.house import House, build
from appliance.model.account import Account
from appliance.model.device import Device
from appliance.model.ids import new_id
from appliance.model.jid import recipient
from appliance.store.database import Database, Transaction
from appliance.store.migrate import migrate

SENDERS, ENDPOINTS = 4, 2
PHONES = ("01", "02", "03", "06", "08", "10", "15")
CHECKPOINT_PAGES = 48
DAY_S = 24 * 3600


class Send(msgspec.Struct, frozen=True):
    """An accepted message; `told` is what its caller was told of it, None when the caller did not wait."""

    position: int
    key: str
    message_id: str
    told: str | None = None


class Taken(msgspec.Struct, frozen=True):
    """An event that a worker was told to forget."""

    position: int
    seq: int
    message_id: str


class Stored(msgspec.Struct, frozen=True):
    """An incoming message whose id was told."""

    position: int
    message_id: str


class Posted(msgspec.Struct, frozen=True):
    """An event that a webhook receiver has."""

    position: int
    event_no: int
    body: bytes


class Swept(msgspec.Struct, frozen=True):
    """A sweep of retention: what is older than `before_ms` may be gone from `position` on, and the keys of
    everything accepted up to `keys_until_ms`."""

    position: int
    before_ms: int
    keys_until_ms: int


class Ledger(msgspec.Struct):
    """What the outside was told. `begins` is where traffic began, everything before it being settled; a
    position is a point on whatever line the rig cuts."""

    account_id: str = ""
    device_id: str = ""
    begins: int = 0
    sends: list[Send] = []
    taken: list[Taken] = []
    stored: list[Stored] = []
    posted: list[Posted] = []
    swept: list[Swept] = []


class Traffic:
    """Makes an account with a device and endpoints, then sends, receives, delivers and deletes."""

    def __init__(self, folder: Path, position: Callable[[], int], chance: random.Random) -> None:
        self.ledger = Ledger()
        self._position = position
        self._chance = chance
        self._config = Config(
            data_dir=str(folder),
            limits=LimitSettings(messages_per_minute=0),
            webhooks=WebhookSettings(allow=["loopback"]),
        )
        self._seq = 0
        self._key = 0

    async def run(self, rounds: int, setup: list[str]) -> None:
        """`rounds` messages each way in two lives of the house; `setup` are pragmas that the writer is
        given first."""
        async with Receiver(self._posted) as receiver:
            async with self._living(setup) as house:
                await self._furnish(house, receiver)
                self.ledger.begins = self._position()
                await self._both_ways(house, rounds // 2)
            async with self._living(setup) as house:
                await asyncio.gather(self._both_ways(house, rounds - rounds // 2), self._sweep(house))

    @asynccontextmanager
    async def _living(self, setup: list[str]) -> AsyncIterator[House]:
        """The house without its HTTP server."""
        path = data_dir.database_path(self._config.data)
        migrate(path, self._config.store)
        db = Database(path, self._config.store)
        await db.open()
        try:
            await db.transaction(lambda tx: _set_up(tx, setup))
            async with _at_work(build(self._config, db)) as house:
                yield house
        finally:
            await db.close()

    async def _furnish(self, house: House, receiver: Receiver) -> None:
        gateway = house.gateway
        account, _ = await gateway.accounts.create("owner@example.test", "Owner", "a long password", "admin")
        device = await gateway.devices.create(account, "one", sandbox=True)
        await gateway.devices.connect(account.id, device.id)
        await eventually(lambda: gateway.devices.current_qr(device.id) is not None)
        await gateway.sandbox.scan(account.id, device.id)
        for n in range(ENDPOINTS):
            await gateway.webhooks.create(account.id, f"{receiver.url}/{n}", EndpointChange())
        self.ledger.account_id, self.ledger.device_id = account.id, device.id

    async def _both_ways(self, house: House, rounds: int) -> None:
        account = await house.gateway.accounts.by_id(self.ledger.account_id)
        device = house.gateway.devices.known(self.ledger.device_id)
        assert account is not None
        assert device is not None
        senders = (self._send(house, account, device, rounds // SENDERS) for _ in range(SENDERS))
        await asyncio.gather(*senders, self._receive(house, rounds))

    async def _send(self, house: House, account: Account, device: Device, count: int) -> None:
        outbox = house.gateway.outbox
        for _ in range(count):
            self._key += 1
            key = f"key-{self._key}"
            to = recipient(f"9990000000{self._chance.choice(PHONES)}", None)
            draft = Draft(to=to, kind="text", text=self._text())
            accepted = await outbox.accept(account, device, draft, Idempotency(key, key.encode()))
            self.ledger.sends.append(Send(self._position(), key, accepted.message.id))
            if self._chance.random() < 0.5:
                told = await outbox.wait(account, accepted.message, 5.0)
                self.ledger.sends.append(Send(self._position(), key, told.id, str(told.status)))

    async def _receive(self, house: House, count: int) -> None:
        """As a worker does: numbered events, several under way."""
        for _ in range(count):
            self._seq += 1
            await house.inbound.put(self._incoming(self._seq))
            await asyncio.sleep(0.002)
        await house.inbound.drained()

    def _incoming(self, seq: int) -> Incoming:
        def ack(applied: Applied | None) -> None:
            assert applied is not None
            assert applied.message_id is not None
            self.ledger.taken.append(Taken(self._position(), seq, applied.message_id))

        person = f"62811{seq % 7:07}@s.whatsapp.net"
        text = self._text()
        message = MessageIn(
            chat=person,
            sender=person,
            wa_id=wa_id(seq),
            timestamp=1_780_000_000,
            from_me=False,
            kind="text",
            type="conversation",
            content={"conversation": text},
            text=text,
        )
        return Incoming(self.ledger.device_id, message, ack, incarnation=1, seq=seq)

    def _posted(self, got: Received) -> int:
        self.ledger.posted.append(Posted(self._position(), got.event_no, got.body))
        return 503 if self._chance.random() < 0.05 else 200

    async def _sweep(self, house: House) -> None:
        """Delete what is older than now, by a clock that is thirty days ahead."""
        before_ms = house.gateway.clock.now_ms()
        ahead = HandClock(before_ms + 30 * DAY_S * 1000)
        position = self._position()
        await Retention(house.db, ahead, RetentionSettings(), house.gateway.media).sweep()
        self.ledger.swept.append(Swept(position, before_ms, house.gateway.clock.now_ms()))

    def _text(self) -> str:
        return new_id() + "x" * self._chance.choice((0, 10, 200, 2000))


@asynccontextmanager
async def _at_work(house: House) -> AsyncIterator[House]:
    """Its parts begin and end in the order in which the runtime does it."""
    await house.open()
    await house.engines.sandbox.open(house.inbound.put)
    await house.drains.recover()
    work = house.inbound.run(), house.drains.run(), house.deliveries.run()
    loops = [asyncio.create_task(each) for each in work]
    try:
        await house.gateway.devices.resume()
        yield house
        await house.gateway.devices.stop()
        await house.engines.sandbox.close()
        await house.inbound.drained()
        await house.deliveries.stop(0.2)
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        house.close()


def wa_id(seq: int) -> str:
    """WhatsApp's id of the incoming message with that number."""
    return f"IN{seq:06}"


def _set_up(tx: Transaction, pragmas: list[str]) -> None:
    """`synchronous` cannot be changed within a transaction, so that the one we are in is ended."""
    tx.run("COMMIT")
    for pragma in (f"wal_autocheckpoint = {CHECKPOINT_PAGES}", *pragmas):
        tx.run(f"PRAGMA {pragma}")
    tx.run("BEGIN IMMEDIATE")
