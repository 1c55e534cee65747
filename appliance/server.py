"""The HTTP server: one Litestar application over the gateway, on Granian embedded in our own event loop."""

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide

from appliance.api import auth, problems
from appliance.api.below import BelowApi
from appliance.api.frame import Frame
from appliance.api.request_figures import RequestFigures
from appliance.api.routes import API, FIXED
from appliance.api.streams import Streams
from appliance.api.system import System
from appliance.gateway.gateway import Gateway
from appliance.model.errors import GatewayError
from appliance.store.database import Database
from appliance.tls import Pair

log = logging.getLogger(__name__)

STREAMS_END_S = 0.2
DRAIN_S = 5.0
FORCE_S = 2.0
REPLACE_TRIES = 200
REPLACE_PAUSE_S = 0.05
STORE_PROBE_S = 5.0
HEADER_TIMEOUT_MS = 15_000
BACKLOG = 2_048
# Granian counts idle connections and streams too: at its own default a few hundred of them would shut
# everybody out.
CONNECTIONS = 16_384
DESCRIPTORS = 2 * CONNECTIONS
# What a connection may hold of a request's headers, and of an answer that its reader does not take. At
# Granian's own 400 KiB a hundred streams whose readers have stopped would cost 120 MiB.
BUFFER_BYTES = 64 * 1024
# Granian would write to stdout in a form of its own.
_LOGGED_BY_US: dict[str, dict[str, object]] = {"loggers": {}, "handlers": {}, "formatters": {}}
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (where to knock when listening everywhere)


class PortTaken(Exception):
    """Somebody else listens there already, or the address is not ours to use."""


class ServerFailed(Exception):
    """The HTTP server ended before it was told to."""


class Readiness:
    """Whether requests can be served in full: the store takes changes and every stored session was
    started."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.sessions_started: Callable[[], bool] = lambda: False

    async def __call__(self) -> str | None:
        """Why not, None when ready."""
        if not self.sessions_started():
            return "The stored sessions are being started, or the gateway is stopping."
        try:
            await asyncio.wait_for(self._db.transaction(lambda _tx: None), STORE_PROBE_S)
        except (GatewayError, TimeoutError):
            return "The store takes no changes now."
        return None


@dataclass(frozen=True, slots=True)
class App:
    """The application as Granian calls it, and its open streams."""

    asgi: Frame
    streams: Streams


def build_app(
    gateway: Gateway,
    system: System,
    *,
    public_url: str | None = None,
    dashboard: Router | None = None,
    documents: Sequence[Any] = (),
) -> App:
    """The whole application. `documents` are the handlers of the docs, `dashboard` the pages for people."""
    streams, requests = Streams(gateway.events), RequestFigures()
    gateway.accounts.on_key_rotated.append(streams.end_of)
    litestar = Litestar(
        route_handlers=[
            _api_router("/", API),
            _api_router("/", FIXED),
            *([dashboard] if dashboard is not None else []),
            *documents,
        ],
        dependencies={
            "gateway": Provide(lambda: gateway, sync_to_thread=False, use_cache=True),
            "streams": Provide(lambda: streams, sync_to_thread=False, use_cache=True),
            "requests": Provide(lambda: requests, sync_to_thread=False, use_cache=True),
            "system": Provide(lambda: system, sync_to_thread=False, use_cache=True),
            "account": Provide(auth.account),
        },
        state=State({"streams": streams}, deep_copy=False),
        exception_handlers=problems.HANDLERS,
        openapi_config=None,
        logging_config=None,
    )
    return App(Frame(BelowApi(litestar, API), public_url, requests), streams)


def _api_router(path: str, handlers: Sequence[Any]) -> Router:
    # Bodies are bounded where they are read, because each kind of body has a bound of its own.
    return Router(path, route_handlers=list(handlers), request_max_body_size=None)


def check_port(host: str, port: int) -> None:
    """Raises PortTaken. Granian itself would share a taken port silently (SO_REUSEPORT)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            raise PortTaken(f"{host}:{port}: {error.strerror or error}.") from None


def connections_allowed() -> int:
    """How many connections are taken at a time: half of the file descriptors that this process may have,
    after asking for as many as it may. The others are for receivers, workers and files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return CONNECTIONS if soft == resource.RLIM_INFINITY else min(CONNECTIONS, soft // 2)


class HttpServer:
    """Listens on `host`:`port` from `start` to `stop`: with TLS if there is a pair for it, at least 1.2."""

    def __init__(self, app: App, host: str, port: int, pair: Pair | None = None) -> None:
        self._app = app
        self._address = (host, port)
        self._pair = pair
        self._server = self._made()
        self._task: asyncio.Task[None] | None = None
        self._replaced: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns when connections are taken. Raises ServerFailed."""
        self._task = asyncio.create_task(self._server.serve(), name="granian")
        while not await self._answers():
            if self._task.done():
                raise ServerFailed("The HTTP server could not be started.") from self._task.exception()
            await asyncio.sleep(0.01)

    async def serving(self) -> None:
        """Runs as long as the server does. Raises ServerFailed when it ends by itself."""
        task = None
        while task is not self._task:
            task = self._task
            assert task is not None
            await asyncio.shield(task)

    async def replace(self, pair: Pair) -> None:
        """Serve with another pair, which can be used. For a moment both are listened with; then requests are
        finished with the old one, and streams end and are opened again by who reads them."""
        self._pair, old, old_task = pair, self._server, self._task
        if old_task is None:
            self._server = self._made()
            return
        self._server = self._made()
        self._task = asyncio.create_task(self._server.serve(), name="granian")
        await self._shows(pair)
        self._replaced = [task for task in self._replaced if not task.done()] + [old_task]
        old.stop()  # type: ignore[no-untyped-call]
        self._app.streams.end_all()

    async def stop(self) -> None:
        """End the streams, let requests finish, and after DRAIN_S end those that do not."""
        self._app.streams.end_all()
        if self._task is None or self._task.done():
            return
        await asyncio.sleep(STREAMS_END_S)
        self._server.stop()  # type: ignore[no-untyped-call]
        ending = {self._task, *self._replaced}
        _, left = await asyncio.wait(ending, timeout=DRAIN_S)
        if left:
            cut = [task for task in asyncio.all_tasks() if _is_request(task)]
            log.warning("drain_cut_short", extra={"requests": len(cut), "after_s": DRAIN_S})
            for request in cut:
                request.cancel()
            _, left = await asyncio.wait(left, timeout=FORCE_S)
        for task in left:
            # Connections that never sent a whole request: Granian would wait for them for ever.
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _made(self) -> Server:
        host, port = self._address
        pair = self._pair
        return Server(
            self._app.asgi,
            address=host,
            port=port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            backpressure=connections_allowed(),
            http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MS, max_buffer_size=BUFFER_BYTES),
            log_access=False,
            log_level=LogLevels.error,
            log_dictconfig=_LOGGED_BY_US,
            ssl_cert=pair.certificate if pair else None,
            ssl_key=pair.key if pair else None,
            ssl_key_password=pair.password if pair else None,
            ssl_protocol_min=SSLProtocols.tls12,
        )

    async def _answers(self) -> bool:
        host, port = self._address
        try:
            _, writer = await asyncio.open_connection(_EVERYWHERE.get(host, host), port)
        except OSError:
            return False
        writer.close()
        return True

    async def _shows(self, pair: Pair) -> None:
        """Returns when connections are taken with that certificate. Raises ServerFailed when they are not."""
        wanted = await asyncio.to_thread(_first_certificate, pair.certificate)
        for _ in range(REPLACE_TRIES):
            assert self._task is not None
            if self._task.done():
                raise ServerFailed("The HTTP server could not be started again.") from self._task.exception()
            if await self._shown() == wanted:
                return
            await asyncio.sleep(REPLACE_PAUSE_S)
        raise ServerFailed("The HTTP server does not show its new certificate.")

    async def _shown(self) -> bytes | None:
        """The certificate that a new connection gets; the kernel shares them out among the listeners."""
        host, port = self._address
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            async with asyncio.timeout(STORE_PROBE_S):
                _, writer = await asyncio.open_connection(_EVERYWHERE.get(host, host), port, ssl=context)
        except (OSError, TimeoutError):
            return None
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return bytes(shown)


def _first_certificate(path: Path) -> bytes:
    text = path.read_text("ascii", "replace")
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(begin + text.partition(begin)[2].partition(end)[0] + end)


def _is_request(task: "asyncio.Task[Any]") -> bool:
    """Whether Granian started the task for a request; it gives them no other mark."""
    return getattr(task.get_coro(), "__qualname__", "").endswith("future_watcher")
