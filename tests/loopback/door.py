"""The way in: a CONNECT proxy that leads every host to our own TLS, websocket and media host."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import ssl
from typing import cast

from aiohttp import web

from loopback.conn import Connection
from loopback.dispatch import handle
from loopback.network import Network
from loopback.patch import Patcher, PatchError

log = logging.getLogger("loopback")

_HOST = "127.0.0.1"
_POLL_S = 0.05
_MAX_UPLOAD = 1 << 30
_END_OF_HEAD = b"\r\n\r\n"
_REFUSED = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_OPENED = b"HTTP/1.1 200 OK\r\n\r\n"


class Door:
    """Two listening ports: the proxy for whatsmeow-based clients, TLS for clients that take an address."""

    def __init__(self, net: Network, proxy_port: int = 0) -> None:
        self._net = net
        self._patcher = Patcher(net.pki.noise_root.public)
        self._tls: ssl.SSLContext = net.pki.tls_context()
        self.proxy_port = proxy_port
        self.tls_port = 0
        self.patch_errors: list[str] = []

    async def open(self) -> None:
        app = web.Application(client_max_size=_MAX_UPLOAD)
        app.add_routes(
            [
                web.get("/ws/chat", self._websocket),
                web.route("*", "/{prefix:mms|newsletter}/{kind}/{token}", self._upload),
                web.get("/v/{key}", self._download),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        assert self._runner.server is not None
        self._site = await asyncio.get_running_loop().create_server(
            self._runner.server, _HOST, self.tls_port, ssl=self._tls
        )
        self.tls_port = self._site.sockets[0].getsockname()[1]
        try:
            await self.unbar()
        except OSError:  # somebody else has the former port now
            self.proxy_port = 0
            await self.unbar()

    async def unbar(self) -> None:
        """Listen on the proxy port (the same one as before, if there was one)."""
        loop = asyncio.get_running_loop()
        self._proxy = await loop.create_server(lambda: _Tunnel(self), _HOST, self.proxy_port)
        self.proxy_port = self._proxy.sockets[0].getsockname()[1]

    async def bar(self) -> None:
        """Stop listening on the proxy port: new connections are refused by the kernel; open ones live on."""
        self._proxy.close()

    async def close(self) -> None:
        self._proxy.close()
        self._site.close()
        await self._runner.cleanup()

    async def admit(self, transport: asyncio.Transport) -> None:
        """Answer a CONNECT: refuse it, or patch the process behind it and speak TLS with it."""
        try:
            await self._while("hang_proxy")
            if not self._net.faults.refuse_proxy and await self._patch(transport):
                self._net.counters.proxied += 1
                await self._hand_over(transport)
                return
            self._net.counters.refused += 1
            transport.write(_REFUSED)
        except (ConnectionError, RuntimeError) as error:
            # uvloop raises RuntimeError when the client has gone away meanwhile.
            if isinstance(error, RuntimeError) and not transport.is_closing():
                raise
        transport.close()

    async def _patch(self, transport: asyncio.Transport) -> bool:
        ports = (transport.get_extra_info(name)[1] for name in ("sockname", "peername"))
        try:
            await asyncio.to_thread(self._patcher.patch_peer, *ports)
        except PatchError as error:
            self.patch_errors.append(str(error))
            log.warning("patch_failed", extra={"reason": str(error)})
            return False
        self._net.counters.patched = self._patcher.count
        return True

    async def _hand_over(self, plain: asyncio.Transport) -> None:
        """Speak TLS on the tunnel's own socket: no second hop, and no bytes to pump."""
        assert self._runner.server is not None
        handler = self._runner.server()
        plain.write(_OPENED)
        secure = await asyncio.get_running_loop().start_tls(plain, handler, self._tls, server_side=True)
        if secure is not None:
            handler.connection_made(secure)

    def spawn_admission(self, transport: asyncio.Transport) -> None:
        self._net.spawn(self.admit(transport))

    async def _while(self, fault: str) -> None:
        while getattr(self._net.faults, fault):  # noqa: ASYNC110 - any thread may flip a fault
            await asyncio.sleep(_POLL_S)

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        await self._while("hang_upgrade")
        ws = web.WebSocketResponse(max_msg_size=0, timeout=1.0, compress=False)
        with contextlib.suppress(ConnectionError):
            await ws.prepare(request)
            self._net.counters.websockets += 1
            await Connection(self._net, ws, request, handle).run()
        return ws

    async def _upload(self, request: web.Request) -> web.Response:
        if status := await self._media_fault():
            return web.Response(status=status)
        if request.method == "DELETE":
            return web.json_response({})
        path = self._net.media.put(await request.read())
        self._net.counters.uploads += 1
        url = f"https://{self._net.media_host}{path}"
        return web.json_response({"url": url, "direct_path": path, "handle": secrets.token_hex(8)})

    async def _download(self, request: web.Request) -> web.Response:
        if status := await self._media_fault():
            return web.Response(status=status)
        self._net.counters.downloads += 1
        blob = self._net.media.get(request.path)
        return web.Response(status=404) if blob is None else web.Response(body=blob)

    async def _media_fault(self) -> int:
        await asyncio.sleep(self._net.faults.media_delay_s)
        return self._net.faults.media_status


class _Tunnel(asyncio.Protocol):
    """Reads the head of one CONNECT request; whatever host it names, it leads here."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if _END_OF_HEAD in self._head:
            return
        self._head += data
        if _END_OF_HEAD in self._head:
            self._door.spawn_admission(self._transport)
