"""The simulator keeps what every way to WhatsApp promises."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from contract_body import DEVICE, PROMISES, World
from patience import PATIENCE_S

from appliance.engine.base import (
    Applied,
    EngineEvent,
    Incoming,
    MessageIn,
    PairCode,
    PretendMessage,
    Sent,
    SessionSpec,
    StateChanged,
)
from appliance.engine.simulator import Simulator
from appliance.engine.simulator_samples import SAMPLES
from appliance.gateway.clock import SystemClock
from appliance.model.device import DeviceStatus

T = TypeVar("T", bound=EngineEvent)


class Recorder:
    """The gateway's place: takes every event and acknowledges it."""

    def __init__(self) -> None:
        self.incoming: list[Incoming] = []
        self._changed = asyncio.Event()

    async def put(self, incoming: Incoming) -> None:
        self.incoming.append(incoming)
        incoming.ack(Applied("m", len(self.incoming)))
        self._changed.set()

    def of(self, device_id: str, kind: type[T], since: int = 0) -> list[T]:
        told = [incoming for incoming in self.incoming[since:] if incoming.device_id == device_id]
        return [incoming.event for incoming in told if isinstance(incoming.event, kind)]

    async def wait(
        self, device_id: str, kind: type[T], fits: Callable[[T], bool] = lambda _: True, since: int = 0
    ) -> T:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self._changed.clear()
                for event in self.of(device_id, kind, since):
                    if fits(event):
                        return event
                await self._changed.wait()


class Sandbox:
    """The simulator's world: the other person echoes what reaches them; the echo proves the arrival."""

    ours, other, nobody = "628111222333", "999000000010", "999000000022"

    def __init__(self, folder: Path) -> None:
        self.heard = Recorder()
        self.engine = Simulator(SystemClock())
        self._folder = folder
        self._writing: list[asyncio.Task[object]] = []

    def spec(self, *, linked: bool) -> SessionSpec:
        phone = self.ours if linked else None
        return SessionSpec(DEVICE, self._folder / DEVICE, sandbox=True, linked=linked, phone=phone)

    async def scan(self, qr: str) -> None:
        assert qr
        await self.engine.scan(DEVICE, self.ours, None)

    async def type_code(self, code: PairCode) -> None:
        assert code.code
        await self.engine.scan(DEVICE, None, None)

    async def other_writes(self, text: str) -> None:
        write = self.engine.write(DEVICE, PretendMessage(phone=self.other, text=text))
        self._writing.append(asyncio.create_task(write))

    async def other_sends_picture(self) -> bytes:
        await self.engine.write(DEVICE, PretendMessage(phone=self.other, kind="image"))
        return SAMPLES["image"].data

    async def other_got(self, text: str) -> None:
        await self.heard.wait(DEVICE, MessageIn, lambda m: m.text == text)

    async def other_reads(self, sent: Sent) -> None:
        """They all do, by themselves."""

    async def drop(self) -> None:
        await self.engine.set_state(DEVICE, StateChanged(DeviceStatus.RECONNECTING, "connection_lost"))

    async def heal(self) -> None:
        await self.engine.set_state(DEVICE, StateChanged(DeviceStatus.CONNECTED))

    async def unlink(self) -> None:
        await self.engine.set_state(DEVICE, StateChanged(DeviceStatus.LOGGED_OUT, "device_removed"))

    async def close(self) -> None:
        await asyncio.gather(*self._writing)
        await self.engine.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = Sandbox(tmp_path)
    await world.engine.open(world.heard.put)
    yield world
    await world.close()


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_the_simulator_promises(promise: Callable[[World], Awaitable[None]], world: World) -> None:
    await promise(world)
