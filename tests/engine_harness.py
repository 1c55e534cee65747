"""The real engine on the loopback network: a sink that records and acknowledges, and ways to wait."""

import asyncio
import atexit
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
from loopback.server import LoopbackServer
from patience import PATIENCE_S

from appliance.engine.base import (
    Applied,
    EngineEvent,
    Incoming,
    MessageIn,
    QrShown,
    ReceiptIn,
    SessionSpec,
    StateChanged,
)
from appliance.engine.launcher import ForkServerLauncher, Launcher
from appliance.engine.session import Deadlines, RealSession
from appliance.engine.supervisor import RealEngine
from appliance.model.device import DeviceStatus

T = TypeVar("T", bound=EngineEvent)
ANN, BEA = "15550000001", "15550000002"
_template: list[Path] = []


class Recorder:
    """The gateway's place: takes every event, acknowledges it unless told not to."""

    def __init__(self) -> None:
        self.incoming: list[Incoming] = []
        self.acknowledges = True
        self._changed = asyncio.Event()

    async def put(self, incoming: Incoming) -> None:
        self.incoming.append(incoming)
        if self.acknowledges:
            incoming.ack(Applied())
        self._changed.set()

    def acknowledge_all(self) -> None:
        for incoming in self.incoming:
            incoming.ack(Applied())

    def of(self, device_id: str, kind: type[T], since: int = 0) -> list[T]:
        return [
            i.event for i in self.incoming[since:] if i.device_id == device_id and isinstance(i.event, kind)
        ]

    async def wait(
        self,
        device_id: str,
        kind: type[T],
        fits: Callable[[T], bool] = lambda _: True,
        since: int = 0,
        timeout_s: float = PATIENCE_S,
    ) -> T:
        """The first event of that kind that fits. Raises TimeoutError naming what came instead."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self._changed.clear()
                    for event in self.of(device_id, kind, since):
                        if fits(event):
                            return event
                    await self._changed.wait()
        except TimeoutError:
            seen = [
                type(i.event).__name__ + str(getattr(i.event, "status", "")) for i in self.incoming[since:]
            ]
            raise TimeoutError(f"{kind.__name__} never came; seen {seen}") from None

    async def state(self, device_id: str, status: DeviceStatus, since: int = 0) -> StateChanged:
        return await self.wait(device_id, StateChanged, lambda s: s.status is status, since)

    async def text(self, device_id: str, text: str, since: int = 0) -> MessageIn:
        return await self.wait(device_id, MessageIn, lambda m: m.text == text, since)

    async def message(self, device_id: str, wa_id: str) -> MessageIn:
        return await self.wait(device_id, MessageIn, lambda m: m.wa_id == wa_id)

    async def receipt(self, device_id: str, wa_id: str, status: str) -> ReceiptIn:
        return await self.wait(device_id, ReceiptIn, lambda r: wa_id in r.wa_ids and r.status == status)


class Bench:
    """An engine, its network and its recorder; sessions by device id."""

    def __init__(self, net: LoopbackServer, engine: RealEngine, launcher: Launcher, folder: Path) -> None:
        self.net = net
        self.engine = engine
        self.launcher = launcher
        self.folder = folder
        self.heard = Recorder()
        self.sessions: dict[str, RealSession] = {}

    def spec(self, device_id: str, *, linked: bool = False, proxy: str | None = None) -> SessionSpec:
        folder = self.folder / device_id
        return SessionSpec(device_id, folder, sandbox=False, linked=linked, proxy=proxy)

    def session(self, device_id: str, *, linked: bool = False) -> RealSession:
        made = self.engine.session(self.spec(device_id, linked=linked))
        self.sessions[device_id] = made
        return made

    async def link(self, device_id: str, number: str) -> RealSession:
        """A device linked by QR and connected, with its push name known."""
        session = self.session(device_id)
        await session.start()
        shown = await self.heard.wait(device_id, QrShown)
        await asyncio.to_thread(self.net.scan, number, shown.qr)
        await self.heard.wait(device_id, StateChanged, lambda s: s.push_name is not None)
        return session

    async def resume(self) -> RealSession:
        """The device `d1` of a bench that began linked, connected again."""
        session = self.session("d1", linked=True)
        await session.start()
        await self.heard.state("d1", DeviceStatus.CONNECTED)
        return session


@asynccontextmanager
async def linked_bench(tmp_path: Path, deadlines: Deadlines | None = None) -> AsyncIterator[Bench]:
    """A bench where device `d1` is linked to ANN's number already, and BEA is somebody else.

    Linking takes seconds, so it is done once, and its state copied.
    """
    if not _template:
        folder = Path(tempfile.mkdtemp(prefix="linked-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        async with bench(folder) as made:
            await asyncio.to_thread(made.net.add_account, BEA, "Bea")
            await asyncio.to_thread(made.net.add_account, ANN, "Ann")
            await made.link("d1", ANN)
        _template.append(folder)
    await asyncio.to_thread(shutil.copytree, _template[0], tmp_path, dirs_exist_ok=True)
    async with bench(tmp_path, deadlines=deadlines) as made:
        yield made


@asynccontextmanager
async def bench(
    tmp_path: Path, launcher: Launcher | None = None, deadlines: Deadlines | None = None
) -> AsyncIterator[Bench]:
    """A loopback network and an engine that goes out through it."""
    with LoopbackServer(tmp_path / "network") as net:
        os.environ["SSL_CERT_FILE"] = net.client_env()["SSL_CERT_FILE"]
        way = launcher or ForkServerLauncher()
        engine = RealEngine(way, proxy=net.proxy_url, deadlines=deadlines)
        made = Bench(net, engine, way, tmp_path / "devices")
        await engine.open(made.heard.put)
        try:
            yield made
        finally:
            await engine.close()
            del os.environ["SSL_CERT_FILE"]


def shortened(**seconds: float) -> Deadlines:
    """The real deadlines but those named."""
    return msgspec.structs.replace(Deadlines(), **seconds)


async def until(fits: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """Wait for a condition that nothing announces (a process, a file)."""
    async with asyncio.timeout(timeout_s):
        while not fits():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
