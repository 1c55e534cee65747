"""Slow bodies: given up on when they stall or trickle, and never otherwise."""

import asyncio
from typing import Any

import pytest
from patience import PATIENCE_S

from appliance.api.body_watch import REST_BYTES, BodyWatches
from appliance.api.problems import RequestTimeout


class Sender:
    """The other end: hands over what is put in, as ASGI messages."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()

    async def receive(self) -> Any:
        return await self.queue.get()

    def send(self, body: bytes, *, more: bool) -> None:
        self.queue.put_nowait({"type": "http.request", "body": body, "more_body": more})


async def test_a_body_that_stalls_is_given_up() -> None:
    sender = Sender()
    watch = BodyWatches(idle_s=0.05, first_s=60, look_every_s=0.01).of(sender.receive)
    sender.send(b"half", more=True)
    assert (await watch())["type"] == "http.request"
    with pytest.raises(RequestTimeout):
        await asyncio.wait_for(watch(), PATIENCE_S)
    assert not await watch.read_rest()


async def test_a_body_that_trickles_is_given_up() -> None:
    sender = Sender()
    watch = BodyWatches(idle_s=60, first_s=0.1, look_every_s=0.01).of(sender.receive)

    async def trickle() -> None:
        while True:
            sender.send(b"x", more=True)
            await asyncio.sleep(0.01)

    async def read_all() -> None:
        while True:
            await watch()

    trickling = asyncio.create_task(trickle())
    with pytest.raises(RequestTimeout):
        await asyncio.wait_for(read_all(), PATIENCE_S)
    trickling.cancel()


async def test_after_the_body_there_is_no_limit() -> None:
    sender = Sender()
    watch = BodyWatches(idle_s=0.02, first_s=0.02, look_every_s=0.01).of(sender.receive)
    sender.send(b"all", more=False)
    await watch()
    waiting = asyncio.create_task(watch())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.2)
    sender.queue.put_nowait({"type": "http.disconnect"})
    assert (await waiting)["type"] == "http.disconnect"


async def test_somebody_elses_cancellation_stays_one() -> None:
    sender = Sender()
    watch = BodyWatches().of(sender.receive)
    waiting = asyncio.create_task(watch())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_rest_of_a_body_is_read_if_it_is_little_and_comes_soon() -> None:
    sender = Sender()
    watch = BodyWatches().of(sender.receive)
    sender.send(b"half", more=True)
    sender.send(b"all", more=False)
    assert await watch.read_rest()
    assert watch.is_read


async def test_a_large_rest_is_left() -> None:
    sender = Sender()
    watch = BodyWatches().of(sender.receive)
    for _ in range(3):
        sender.send(bytes(REST_BYTES // 2), more=True)
    assert not await watch.read_rest()
    assert sender.queue.qsize() == 1


async def test_a_rest_that_does_not_come_is_waited_for_a_moment() -> None:
    watch = BodyWatches().of(Sender().receive)
    assert not await watch.read_rest()
    assert not watch.is_read
