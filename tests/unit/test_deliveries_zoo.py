"""Receivers that misbehave: each leads to the state the contract names, at a bounded cost."""

import asyncio
import functools
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from clock import HandClock
from delivery_rig import Rig, eventually
from receiver import Receiver, answering

from appliance.gateway.clock import SystemClock
from appliance.gateway.delivery_attempt import ANSWER_KEPT
from appliance.model.webhook import Attempt, DeliveryStatus, Endpoint, EndpointStatus
from appliance.store import deliveries
from appliance.store.query import count

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


async def _without_a_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As HTTP/0.9 did."""
    writer.write(b"<html>hello</html>\n")
    await writer.drain()


async def _half_a_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    await writer.drain()


async def _impossible_status(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 99999 What\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def _two_lengths(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    )
    await writer.drain()


async def _endless_continue(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """`100 Continue` for ever, and never an answer."""
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _trickling_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"." * 1000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def _bad_chunks(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\nnonsense")
    await writer.drain()


BROKEN: list[tuple[Talk, set[str]]] = [
    (_reset, {"disconnected"}),
    (_half_close, {"disconnected"}),
    (_nonsense, {"bad_answer"}),
    (_huge_headers, {"bad_answer"}),
    (_without_a_head, {"bad_answer"}),
    (_half_a_head, {"disconnected", "bad_answer"}),
    (_impossible_status, {"bad_answer"}),
    (_two_lengths, {"bad_answer"}),
    (_endless_continue, {"timeout", "bad_answer"}),
    (_bad_chunks, {"bad_answer"}),
    (_trickling_head, {"timeout"}),
]


async def _continue_first(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n")
    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    await writer.drain()


async def _short_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")
    await writer.drain()


@pytest.mark.parametrize("talk", [_continue_first, _short_body])
async def test_the_status_alone_decides_whatever_becomes_of_the_rest(rig: Rig, talk: Talk) -> None:
    async with RawServer(talk) as server:
        endpoint = await rig.endpoint(server.url)
        attempt = await first_attempt(rig, endpoint, DeliveryStatus.DELIVERED)
    assert attempt.status in {200, 204}


async def test_an_answer_that_comes_before_the_body_was_read_counts(rig: Rig) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(early, "127.0.0.1", 0) as server:
        endpoint = await rig.endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        assert (await first_attempt(rig, endpoint, DeliveryStatus.DELIVERED)).status == 202


async def test_a_receiver_that_is_slow_to_accept_is_waited_for(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        endpoint = await rig.endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        await rig.tell()
        await eventually(lambda: bool(rig.worker._flying))
        server = await asyncio.start_server(_take_any, sock=listener.dup())
        [row] = await rig.settled(endpoint, DeliveryStatus.DELIVERED)
        assert row.attempts == 1
        server.close()


async def _take_any(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(65536)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize(("talk", "errors"), BROKEN, ids=lambda each: getattr(each, "__name__", ""))
async def test_a_broken_exchange_is_tried_again_and_says_why(
    tmp_path: Path, talk: Talk, errors: set[str]
) -> None:
    async with Rig(tmp_path, SystemClock(), total_timeout_s=1.0) as rig, RawServer(talk) as server:
        endpoint = await rig.endpoint(server.url)
        attempt = await first_attempt(rig, endpoint, DeliveryStatus.PENDING)
    assert attempt.status is None
    assert attempt.error in errors


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
    async with Rig(tmp_path, HandClock(), total_timeout_s=0.3) as rig, Receiver(answering(never)) as receiver:
        endpoint = await rig.endpoint(receiver.url)
        assert (await first_attempt(rig, endpoint, DeliveryStatus.PENDING)).error == "timeout"
        never.set()


async def _attempted(rig: Rig) -> bool:
    attempts = await rig.db.reader.one(count("SELECT count(*) FROM attempts"))
    return attempts is not None and attempts > 0


async def test_no_file_descriptor_is_left(tmp_path: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    for talk in (*(talk for talk, _ in BROKEN), _short_body):
        async with Rig(tmp_path, SystemClock(), total_timeout_s=0.3) as rig, RawServer(talk) as server:
            rig.account.email = f"{talk.__name__}@example.org"
            endpoint = await rig.endpoint(server.url)
            await rig.tell()
            await eventually(functools.partial(_attempted, rig))
            await rig.webhooks.delete(rig.account.id, endpoint.id)
        (tmp_path / "gateway.db").unlink()
    assert open_files() <= before + 1
