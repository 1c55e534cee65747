"""The half of the gateway that files come and go through: real database, simulator, hand-turned clock."""

import asyncio
import base64
import os
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import msgspec
from clock import HandClock
from patience import PATIENCE_S

from appliance.engine.base import Engine, EngineError, PretendMessage, Session, SessionSpec, StateChanged
from appliance.engine.simulator import Simulator
from appliance.engine.simulator_session import PretendSession
from appliance.gateway.addresses import PUBLIC_ONLY, Policy
from appliance.gateway.devices import DeviceManager, Engines
from appliance.gateway.downloads import Downloads
from appliance.gateway.drains import Drains
from appliance.gateway.events import EventLog
from appliance.gateway.fanout import Fanout
from appliance.gateway.inbound import Inbound
from appliance.gateway.incoming_messages import IncomingMessages
from appliance.gateway.limits import LimitSettings, RateLimits
from appliance.gateway.media import Media
from appliance.gateway.media_fetch import Fetcher
from appliance.gateway.media_links import MediaLinks
from appliance.gateway.media_settings import MediaSettings
from appliance.gateway.media_shelf import Shelf
from appliance.gateway.receipts import Receipts
from appliance.gateway.states import DeviceStates
from appliance.gateway.vault import Vault
from appliance.model.account import Account
from appliance.model.device import Device, DeviceStatus
from appliance.model.ids import new_id
from appliance.store import accounts
from appliance.store.database import Database, StoreSettings
from appliance.store.migrate import migrate


def png(width: int = 3, height: int = 2) -> bytes:
    """A valid picture."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    rows = zlib.compress(b"".join(b"\0" + b"\x7f" * width for _ in range(height)))
    parts = (chunk(b"IHDR", size + b"\x08\0\0\0\0"), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png64() -> str:
    return base64.b64encode(png()).decode()


def names(folder: Path) -> list[str]:
    """The files below a folder, by name; none when it is not there."""
    return sorted(name for _, _, found in os.walk(folder) for name in found)


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class ShakySession:
    """A pretend session whose downloads fail as long as `failures` has something to raise."""

    def __init__(self, whole: PretendSession, failures: list[Exception]) -> None:
        self._whole = whole
        self._failures = failures
        self.start = whole.start
        self.stop = whole.stop
        self.send = whole.send
        self.pair_code = whole.pair_code
        self.logout = whole.logout
        self.check = whole.check

    async def download(self, source: bytes, path: Path) -> int:
        if self._failures:
            raise self._failures.pop(0)
        return await self._whole.download(source, path)


class ShakyEngine:
    """The simulator, but for its downloads."""

    def __init__(self, simulator: Simulator, failures: list[Exception]) -> None:
        self._simulator = simulator
        self._failures = failures
        self.open = simulator.open
        self.recover = simulator.recover
        self.forget = simulator.forget
        self.close = simulator.close

    def session(self, spec: SessionSpec) -> Session:
        return ShakySession(self._simulator.session(spec), self._failures)


class MediaRig:
    """Use it as `async with`; a second one on the same folder is the next start of the gateway."""

    def __init__(
        self,
        folder: Path,
        *,
        media: MediaSettings | None = None,
        policy: Policy = PUBLIC_ONLY,
        failures: list[Exception] | None = None,
        clock: HandClock | None = None,
        fetch: bool = True,
    ) -> None:
        self.folder = folder
        self.clock = clock or HandClock()
        self.settings = media or MediaSettings()
        self.simulator = Simulator(self.clock)
        self.failures = failures if failures is not None else []
        self._policy = policy
        self._fetches = fetch
        self._loops: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        migrate(self.folder / "gateway.db", StoreSettings())
        self.db = db = Database(self.folder / "gateway.db", StoreSettings())
        await db.open()
        self.events = EventLog(db.reader, Fanout(), self.clock)
        await self.events.open()
        vault = Vault.from_file(self.folder / "secret.key")
        links = MediaLinks(vault.derived("media-link"), "https://gateway.example/")
        self.shelf = Shelf(db, self.clock, self.settings, self.folder, links)
        fetcher = Fetcher(None, policy=self._policy)
        self.media = Media(db.reader, self.clock, self.settings, self.folder, fetcher, self.shelf)
        states = DeviceStates(self.events, self.clock)
        await states.load(db.reader)
        limits = RateLimits(self.clock, LimitSettings())
        engine: Engine = ShakyEngine(self.simulator, self.failures)
        self.devices = DeviceManager(
            db,
            self.clock,
            vault,
            states,
            self.events,
            limits,
            Engines(engine, engine),
            self.folder / "devices",
        )
        self.devices.on_deleted.append(self.shelf.forget)
        self.downloads = Downloads(
            db, self.clock, self.devices, self.events, self.shelf, self.settings, pauses_s=(0.01, 0.01)
        )
        incoming = IncomingMessages(self.events, self.clock)
        incoming.on_file = self.downloads.wanted
        receipts = Receipts(self.events, self.clock)
        drains = Drains(db, self.clock, self.devices, self.events, receipts, limits, self.media.on_done)
        self.inbound = Inbound(db, self.clock, states, incoming, receipts, drains)
        await self.simulator.open(self.inbound.put)
        self._begin(self.inbound.run())
        await self.media.open()
        if self._fetches:
            self._begin(self.downloads.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.devices.stop()
        await self.simulator.close()
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.db.close()

    async def device(self) -> Device:
        """A new account's device, linked and connected."""
        self.account = Account(
            id=new_id(),
            email=f"{new_id()}@example.test",
            name="Owner",
            role="admin",
            password_hash="",
            key_hash=new_id().encode(),
            key_sealed=b"",
            key_rotated_at=0,
            created_at=0,
        )
        await self.db.transaction(lambda tx: accounts.insert(tx, self.account))
        device = await self.devices.create(self.account, "One", sandbox=True)
        await self.devices.connect(self.account.id, device.id)
        await until(lambda: self.devices.current_qr(device.id))
        await self.simulator.scan(device.id, None, None)
        return self.devices.get(self.account.id, device.id)

    async def receive(self, device: Device, kind: str = "image", **more: Any) -> str:
        """Somebody sends a file; the id under which its message was stored."""
        message = PretendMessage(kind=kind, phone="628111222333", **more)
        [(_, applied)] = await self.simulator.write(device.id, message)
        assert applied.message_id is not None
        return applied.message_id

    async def state(self, device: Device, status: DeviceStatus) -> None:
        await self.simulator.set_state(device.id, StateChanged(status))

    async def told(self, device: Device) -> list[dict[str, Any]]:
        """The data of every message told so far, oldest first."""
        page = await self.events.page(device.account_id, 0, 200)
        return [msgspec.json.decode(event.data) for event in page if event.type == "message.received"]

    async def told_as(self, device: Device, count: int) -> list[dict[str, Any]]:
        """The data of the messages told, once there are that many."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            waiter = self.events.waiter(device.account_id)
            found = await self.told(device)
            if len(found) >= count:
                return found
            left_s = deadline - asyncio.get_running_loop().time()
            assert left_s > 0, f"{len(found)} of {count} messages were told"
            await self.events.wait(waiter, left_s)

    def _begin(self, work: Any) -> None:
        self._loops.append(asyncio.create_task(work))


async def until(check: Callable[[], Any]) -> Any:
    """The first true value of `check`, looked at whenever the loop has gone round."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := check()):  # noqa: ASYNC110 (files and other threads set no event)
            await asyncio.sleep(0.005)
    return found


def offline() -> EngineError:
    return EngineError("not_connected", "websocket not connected", retryable=True)
