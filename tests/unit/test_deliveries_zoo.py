"""Receivers that misbehave: each leads to the state the contract names, at a bounded cost."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from clock import HandClock
from delivery_rig import Rig
from receiver import Received, Receiver

from appliance.gateway.clock import SystemClock
from appliance.gateway.delivery_attempt import ANSWER_KEPT
from appliance.model.webhook import Attempt, DeliveryStatus, Endpoint, EndpointStatus
from appliance.store import deliveries

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path, SystemClock()) as ready:
        yield ready


async def first_attempt(rig: Rig, endpoint: Endpoint, status: DeliveryStatus) -> Attempt:
    """Tell something; the first attempt once the delivery has that status."""
    await rig.tell()
    row = (await rig.settled(endpoint, status))[-1]
    return (await rig.db.reader.all(deliveries.attempts_of(rig.account.id, row.id)))[0]


class RawServer:
    """Speaks `talk` to whoever connects, after reading the request's head and body."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.url = ""

    async def __aenter__(self) -> "RawServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        try:
            await self._talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_failures_and_never_followed(rig: Rig, status: int) -> None:
    async with Receiver() as elsewhere, Receiver() as receiver:
        receiver.script = lambda _: web.Response(status=status, headers={"Location": elsewhere.url})
        endpoint = await rig.endpoint(receiver.url)
        attempt = await first_attempt(rig, endpoint, DeliveryStatus.PENDING)
        assert attempt.status == status
        assert elsewhere.received == []


async def test_a_302_counts_as_delivered_where_the_owner_says_so(rig: Rig) -> None:
    async with Receiver() as elsewhere, Receiver() as receiver:
        receiver.script = lambda _: web.Response(status=302, headers={"Location": elsewhere.url})
        endpoint = await rig.endpoint(receiver.url, redirect_is_success=True)
        assert (await first_attempt(rig, endpoint, DeliveryStatus.DELIVERED)).status == 302
        assert elsewhere.received == []


async def test_an_endless_answer_is_read_16_kib_far(rig: Rig) -> None:
    sent = 0

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            writer.write(b"x" * 4096)
            await writer.drain()
            sent += 4096

    async with RawServer(talk) as server:
        endpoint = await rig.endpoint(server.url)
        attempt = await first_attempt(rig, endpoint, DeliveryStatus.DELIVERED)
    assert attempt.answer == b"x" * ANSWER_KEPT
    # What the kernel buffers on both sides comes on top of what is read.
    assert sent < 16 * 1024 * 1024


async def test_a_compressed_bomb_is_not_unpacked(rig: Rig) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    async with Receiver(
        lambda _: web.Response(status=500, body=bomb, headers={"Content-Encoding": "gzip"})
    ) as receiver:
        endpoint = await rig.endpoint(receiver.url)
        attempt = await first_attempt(rig, endpoint, DeliveryStatus.PENDING)
    assert attempt.status == 500
    assert attempt.answer == bomb[:ANSWER_KEPT]


async def test_a_trickling_answer_does_not_hold_its_slot(rig: Rig) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.2)

    async with RawServer(talk) as server:
        endpoint = await rig.endpoint(server.url)
        attempt = await first_attempt(rig, endpoint, DeliveryStatus.DELIVERED)
    assert attempt.status == 200
    assert attempt.duration_ms < 5000


async def _reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _half_close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write_eof()


async def _nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await writer.drain()


async def _huge_headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Huge: " + b"h" * 1_000_000 + b"\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("talk", "error"),
    [
        (_reset, "disconnected"),
        (_half_close, "disconnected"),
        (_nonsense, "bad_answer"),
        (_huge_headers, "bad_answer"),
    ],
)
async def test_a_broken_exchange_is_tried_again_and_says_why(rig: Rig, talk: Talk, error: str) -> None:
    async with RawServer(talk) as server:
        endpoint = await rig.endpoint(server.url)
        attempt = await first_attempt(rig, endpoint, DeliveryStatus.PENDING)
    assert (attempt.status, attempt.error) == (None, error)


async def test_nobody_there_and_plain_text_where_tls_was_expected(rig: Rig) -> None:
    async with Receiver() as receiver:
        tls = await rig.endpoint(receiver.url.replace("http:", "https:"))
        assert (await first_attempt(rig, tls, DeliveryStatus.PENDING)).error in {"tls", "connect"}
        await rig.webhooks.delete(rig.account.id, tls.id)
    nobody = await rig.endpoint(receiver.url)
    assert (await first_attempt(rig, nobody, DeliveryStatus.PENDING)).error == "connect"
    assert (await rig.present(nobody)).status is EndpointStatus.FAILING


async def test_a_receiver_that_never_answers_times_out(tmp_path: Path) -> None:
    never = asyncio.Event()

    async def hang(_: Received) -> int:
        await never.wait()
        return 200

    async with Rig(tmp_path, HandClock(), total_timeout_s=0.3) as rig, Receiver(hang) as receiver:
        endpoint = await rig.endpoint(receiver.url)
        assert (await first_attempt(rig, endpoint, DeliveryStatus.PENDING)).error == "timeout"
        never.set()


async def test_no_file_descriptor_is_left(tmp_path: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    for talk in (_reset, _nonsense, _huge_headers):
        async with Rig(tmp_path, SystemClock()) as rig, RawServer(talk) as server:
            rig.account.email = f"{talk.__name__}@example.org"
            endpoint = await rig.endpoint(server.url)
            await first_attempt(rig, endpoint, DeliveryStatus.PENDING)
            await rig.webhooks.delete(rig.account.id, endpoint.id)
        (tmp_path / "gateway.db").unlink()
    assert open_files() <= before + 1
