"""A webhook receiver to be told how to answer: it records every request byte for byte."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

import msgspec
from aiohttp import web
from patience import PATIENCE_S

Script = Callable[["Received"], "web.StreamResponse | int | Awaitable[web.StreamResponse | int]"]
"""What to answer one request with: a status, or a whole response."""


def answering(when: asyncio.Event, status: int = 200) -> Script:
    """A script that answers as soon as that has happened."""

    async def script(_: "Received") -> int:
        await when.wait()
        return status

    return script


class Received(msgspec.Struct):
    """One request. `headers` have lower-case names; `at` is the monotonic time of its arrival."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    request: web.Request

    @property
    def event_no(self) -> int:
        return int(self.headers["webhook-id"])

    @property
    def attempt(self) -> int:
        return int(self.headers["x-webhook-attempt"])

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.body)["data"]
        return found


class Receiver:
    """A server on a loopback port; `script` answers, 200 until it is set. Use it as `async with`."""

    def __init__(self, script: Script | None = None) -> None:
        self.script: Script = script or (lambda _: 200)
        self.received: list[Received] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.port = 0
        self._arrived = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def wait_for(self, count: int, timeout_s: float = PATIENCE_S) -> list[Received]:
        """The requests so far, as soon as there are `count`; raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._arrived:
            await self._arrived.wait_for(lambda: len(self.received) >= count)
        return self.received

    async def _take(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        got = Received(request.method, request.path, headers, body, time.monotonic(), request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            async with self._arrived:
                self.received.append(got)
                self._arrived.notify_all()
            answer = self.script(got)
            if isinstance(answer, Awaitable):
                answer = await answer
            return web.Response(status=answer) if isinstance(answer, int) else answer
        finally:
            self.in_flight -= 1
