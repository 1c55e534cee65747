"""The real engine keeps what every way to WhatsApp promises, on the loopback network.

Inline, the Go library lives in the testing process itself and reads the environment that process was executed
with: so that form runs in a pytest of its own, which this one starts.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from contract_body import DEVICE, PROMISES, Heard, World
from engine_harness import Bench, bench
from loopback.phone import Phone
from loopback.server import LoopbackServer

from appliance.engine.base import Engine, PairCode, Sent, SessionSpec
from appliance.engine.environment import for_go
from appliance.engine.inline import InlineLauncher
from appliance.engine.simulator_samples import SAMPLES

INLINE = "WA_GATEWAY_TEST_INLINE"
"""Set in the inner pytest: the folder of the certificates that its environment trusts."""


class Loopback:
    """The loopback network's world: two virtual phones, the other one reads by itself when told to."""

    ours, other, nobody = "15550000001", "15550000002", "15550009999"

    def __init__(self, made: Bench) -> None:
        self._made = made

    @property
    def engine(self) -> Engine:
        return self._made.engine

    @property
    def heard(self) -> Heard:
        return self._made.heard

    def spec(self, *, linked: bool) -> SessionSpec:
        return self._made.spec(DEVICE, linked=linked)

    async def scan(self, qr: str) -> None:
        await asyncio.to_thread(self._made.net.scan, self.ours, qr)

    async def type_code(self, code: PairCode) -> None:
        await asyncio.to_thread(self._made.net.enter_link_code, self.ours, code.code)

    async def other_writes(self, text: str) -> None:
        await self._other(lambda phone: phone.send_text(self.ours, text))

    async def other_sends_picture(self) -> bytes:
        await self._other(lambda phone: phone.send_media(self.ours, "image", SAMPLES["image"].data))
        return SAMPLES["image"].data

    async def other_got(self, text: str) -> None:
        await self._other(lambda phone: phone.wait_for(text))

    async def other_reads(self, sent: Sent) -> None:
        found = next(r for r in self._made.net.phones[self.other].inbox if r.id == sent.wa_id)
        await self._other(lambda phone: phone.send_delivered(found))
        await self._other(lambda phone: phone.send_read(found))

    async def drop(self) -> None:
        await asyncio.to_thread(self._made.net.refuse_connections)
        await asyncio.to_thread(self._made.net.drop, self.ours)

    async def heal(self) -> None:
        await asyncio.to_thread(self._made.net.accept_connections)

    async def unlink(self) -> None:
        await asyncio.to_thread(self._made.net.unlink, self.ours)

    async def _other(self, act: Callable[[Phone], Coroutine[Any, Any, object]]) -> None:
        await asyncio.to_thread(self._made.net.on_phone, self.other, act)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    launcher = None
    if trusted := os.environ.get(INLINE):
        shutil.copytree(trusted, tmp_path / "network" / "pki")
        launcher = InlineLauncher()
    async with bench(tmp_path, launcher) as made:
        for number in (Loopback.ours, Loopback.other):
            made.net.add_account(number, number[-1])
        yield Loopback(made)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_the_real_engine_promises(promise: Callable[[World], Awaitable[None]], world: World) -> None:
    await promise(world)


@pytest.mark.skipif(INLINE in os.environ, reason="this is the inner run")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_inline_promises_the_same(promise: Callable[[World], Awaitable[None]], tmp_path: Path) -> None:
    with LoopbackServer(tmp_path) as net:
        trusted = net.client_env()["SSL_CERT_FILE"]
    environment = {**for_go(), "SSL_CERT_FILE": trusted, INLINE: str(tmp_path / "pki")}
    one = f"{__file__}::test_the_real_engine_promises[{promise.__name__}]"
    inner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", one),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await inner.communicate()
    assert inner.returncode == 0, said.decode()[-3000:]
