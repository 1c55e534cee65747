"""The webhook half of the gateway on a real database, with a clock that tests turn."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import messages_of as rows
from clock import HandClock
from patience import PATIENCE_S

from appliance.gateway.deliveries import DeliveryWorker
from appliance.gateway.delivery_bell import DeliveryBell
from appliance.gateway.destinations import Destinations
from appliance.gateway.events import EventLog
from appliance.gateway.fanout import Fanout
from appliance.gateway.vault import Vault
from appliance.gateway.webhooks import EndpointChange, Webhooks
from appliance.model.account import Account
from appliance.model.clock import Clock
from appliance.model.device import Device, DeviceStatus
from appliance.model.event import EventType, NewEvent
from appliance.model.ids import new_id
from appliance.model.webhook import Delivery, DeliveryStatus, Endpoint
from appliance.store import accounts, deliveries, devices, webhooks
from appliance.store.database import Database, StoreSettings, Transaction
from appliance.store.migrate import migrate


class Rig:
    """Account, device, event log, endpoints and a delivery worker. Use it as `async with`."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        account: Account | None = None,
        worker: bool = True,
        total_timeout_s: float = 15.0,
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.private_allowed = True
        self._with_worker = worker
        self._total_timeout_s = total_timeout_s
        self.account = account or rows.account("owner@example.org")
        self.device = self._device("One")

    def _device(self, name: str) -> Device:
        return Device(
            id=new_id(),
            account_id=self.account.id,
            name=name,
            sandbox=True,
            status=DeviceStatus.CONNECTED,
            created_at=0,
        )

    async def __aenter__(self) -> Self:
        migrate(self.folder / "gateway.db", StoreSettings())
        self.db = Database(self.folder / "gateway.db", StoreSettings())
        await self.db.open()
        if await self.db.reader.one(accounts.by_id(self.account.id)) is None:
            await self.db.transaction(lambda tx: accounts.insert(tx, self.account))
        await self.db.transaction(lambda tx: devices.insert(tx, self.device))
        self.vault = Vault.from_file(self.folder / "vault.key")
        self.destinations = Destinations(
            [], lambda: self.private_allowed, total_timeout_s=self._total_timeout_s
        )
        self.log = EventLog(self.db.reader, Fanout(), self.clock)
        await self.log.open()
        self.webhooks = Webhooks(self.db, self.db.reader, self.vault, self.clock, self.destinations, self.log)
        self.worker = self.another_worker()
        self.running: asyncio.Task[None] | None = None
        if self._with_worker:
            self.running = asyncio.create_task(self.worker.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.running is not None:
            await self.worker.stop(0.2)
            await self.running
        await self.db.close()

    def another_worker(self) -> DeliveryWorker:
        """A worker on the same database, not running yet; there may be only one that runs."""
        worker = DeliveryWorker(
            self.db, self.db.reader, self.vault, self.clock, self.destinations, random.Random(7)
        )
        self.log.listen(DeliveryBell(self.db, worker.wakeup))
        self.webhooks.on_changed.append(worker.refresh)
        self.webhooks.under_way = worker.under_way
        return worker

    async def kill_worker(self) -> None:
        """End the worker as a crash would: nothing is released, nothing more is written."""
        assert self.running is not None
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        self.running = None

    async def another_device(self, name: str = "Two") -> Device:
        device = self._device(name)
        await self.db.transaction(lambda tx: devices.insert(tx, device))
        return device

    async def endpoint(self, url: str, secret: str | None = None, **wished: Any) -> Endpoint:
        return await self.webhooks.create(self.account.id, url, EndpointChange(**wished), secret)

    async def tell(self, count: int = 1, device: Device | None = None, **more: Any) -> list[int]:
        """Append messages; returns their event numbers."""
        told = [self.message(device or self.device, i, **more) for i in range(count)]

        def write(tx: Transaction) -> list[int]:
            return [self.log.append(tx, new) for new in told]

        numbers = await self.db.transaction(write)
        self.log.wake(self.account.id)
        return numbers

    def message(self, device: Device, i: int = 0, **more: Any) -> NewEvent:
        data = {
            "deviceId": device.id,
            "remoteJid": "628111222333@s.whatsapp.net",
            "fromMe": False,
            "type": "conversation",
            "content": {"conversation": f"Halo! {i}"},
            "timestamp": 1746479998,
        }
        filtered: dict[str, Any] = {
            "chat_kind": "direct",
            "kind": "text",
            "from_me": False,
            "chat": "628111222333@s.whatsapp.net",
        }
        return NewEvent(self.account.id, device.id, EventType.MESSAGE_RECEIVED, data, **(filtered | more))

    async def advance(self, seconds: float) -> None:
        """Turn the clock (a HandClock) and let the worker notice."""
        assert isinstance(self.clock, HandClock)
        self.clock.advance(seconds)
        self.worker.wake()

    async def present(self, endpoint: Endpoint) -> Endpoint:
        row = await self.db.reader.one(webhooks.by_id(self.account.id, endpoint.id))
        assert row is not None
        return row

    async def endpoints(self) -> list[Endpoint]:
        """The account's endpoints, newest first."""
        return [row for _, row in await self.db.reader.all(webhooks.page(self.account.id, None, 200))]

    async def deliveries(self, endpoint: Endpoint) -> list[Delivery]:
        """All deliveries of the endpoint, oldest first."""
        query = deliveries.page(self.account.id, endpoint.id, deliveries.Filters(), None, 100_000)
        return (await self.db.reader.all(query))[::-1]

    async def settled(self, endpoint: Endpoint, status: DeliveryStatus, count: int = 1) -> list[Delivery]:
        """The deliveries, as soon as `count` have been tried and have that status."""

        async def enough() -> bool:
            rows = await self.deliveries(endpoint)
            return sum(row.status is status and row.attempts > 0 for row in rows) >= count

        await eventually(enough)
        return await self.deliveries(endpoint)


async def eventually(
    condition: Callable[[], Any], timeout_s: float = PATIENCE_S, every_s: float = 0.01
) -> None:
    """Wait until `condition` (a function, possibly async) holds; raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while True:
            held = condition()
            if asyncio.iscoroutine(held):
                held = await held
            if held:
                return
            await asyncio.sleep(every_s)
