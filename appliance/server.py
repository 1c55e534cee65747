"""The HTTP server: one Litestar application over the gateway, on Granian embedded in our own event loop."""

import asyncio
import contextlib
import logging
import os
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
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
from appliance.model.told import Told
from appliance.one_router import OneRouter
from appliance.store.database import Database
from appliance.tls import TlsUnusable

log = logging.getLogger(__name__)

STREAMS_END_S = 0.2
DRAIN_S = 5.0
FORCE_S = 2.0
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


class PortTaken(Told):
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
            async with asyncio.timeout(STORE_PROBE_S):
                await self._db.transaction(lambda _tx: None)
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


def _api_router(path: str, handlers: Sequence[Any]) -> OneRouter:
    # Bodies are bounded where they are read, because each kind of body has a bound of its own.
    return OneRouter(path, route_handlers=list(handlers), request_max_body_size=None)


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
    """Listens on `host`:`port` from `start` to `stop`. With a `pem`, which is the key, not sealed, and the
    certificate with its chain, it speaks TLS 1.2 or newer."""

    def __init__(self, app: App, host: str, port: int, pem: bytes | None = None) -> None:
        self._app = app
        self._address = (host, port)
        self._listener = Listener(app, host, port, pem)
        self._replaced: list[Listener] = []

    async def start(self) -> None:
        """Returns when connections are taken. Raises ServerFailed, TlsUnusable."""
        await self._listener.start()

    async def serving(self) -> None:
        """Runs as long as the server does. Raises ServerFailed when it ends by itself."""
        listener = None
        while listener is not self._listener:
            listener = self._listener
            await listener.serving()

    async def replace(self, pem: bytes) -> None:
        """Serve with another key and certificate. For a moment both are listened with; then requests are
        finished with the old one, and streams end and are opened again by who reads them. Raises TlsUnusable,
        and then the old one goes on."""
        fresh = Listener(self._app, *self._address, pem)
        await fresh.start()
        old, self._listener = self._listener, fresh
        self._replaced = [*(each for each in self._replaced if not each.is_done), old]
        old.stop()
        self._app.streams.end_all()

    async def stop(self) -> None:
        """End the streams, let requests finish, and after DRAIN_S end those that do not."""
        self._app.streams.end_all()
        if self._listener.is_done:
            return
        await asyncio.sleep(STREAMS_END_S)
        self._listener.stop()
        ending = [self._listener, *self._replaced]
        if not await _all_done(ending, DRAIN_S):
            cut = [task for task in asyncio.all_tasks() if _is_request(task)]
            log.warning("drain_cut_short", extra={"requests": len(cut), "after_s": DRAIN_S})
            for request in cut:
                request.cancel()
            await _all_done(ending, FORCE_S)
        for listener in ending:
            await listener.kill()


async def _all_done(listeners: Sequence["Listener"], within_s: float) -> bool:
    """Whether all of them end in time."""
    tasks = [asyncio.ensure_future(listener.serving()) for listener in listeners]
    _, left = await asyncio.wait(tasks, timeout=within_s)
    for task in left:
        task.cancel()
    return not left


class Listener:
    """Granian, listening once. Several may share an address: the kernel shares connections out among them."""

    def __init__(self, app: App, host: str, port: int, pem: bytes | None) -> None:
        self._address = (host, port)
        self._pem = pem
        self._task: asyncio.Task[None] | None = None
        self._server = Server(
            app.asgi,
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
        )

    @property
    def is_done(self) -> bool:
        return self._task is None or self._task.done()

    async def start(self) -> None:
        """Returns when it takes connections. Raises ServerFailed, and TlsUnusable when it cannot with that
        key and certificate."""
        if self._pem is None:
            await self._begin(self._answers)
            return
        with _in_memory(self._pem) as file:
            # What its constructor would make of files on disk; these need not be there.
            spoken: Any = (True, file, file, None, str(SSLProtocols.tls12), None, [], False)
            self._server.ssl_ctx = spoken
            await self._begin(self._shows)

    async def serving(self) -> None:
        """Runs as long as it does. Raises ServerFailed when it ended by an error."""
        assert self._task is not None
        await asyncio.shield(self._task)

    def stop(self) -> None:
        """Take no more connections, and end when those that are open have."""
        self._server.stop()  # type: ignore[no-untyped-call]

    async def kill(self) -> None:
        """End at once: also connections that never sent a whole request, for which Granian would wait for
        ever."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _begin(self, is_there: Callable[[], Awaitable[bool]]) -> None:
        self._task = asyncio.create_task(self._server.serve(), name="granian")
        while not await is_there():
            if self._task.done():
                if self._pem is not None:
                    raise TlsUnusable("tls.certificate, tls.key: this kind of key cannot be served with.")
                raise ServerFailed("The HTTP server could not be started.") from self._task.exception()
            await asyncio.sleep(0.01)

    async def _answers(self) -> bool:
        host, port = self._address
        try:
            _, writer = await asyncio.open_connection(_EVERYWHERE.get(host, host), port)
        except OSError:
            return False
        writer.close()
        return True

    async def _shows(self) -> bool:
        """Whether a new connection got this certificate; it may as well get that of another listener."""
        host, port = self._address
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            async with asyncio.timeout(STORE_PROBE_S):
                _, writer = await asyncio.open_connection(_EVERYWHERE.get(host, host), port, ssl=context)
        except (OSError, TimeoutError):
            return False
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return bool(shown == _first_certificate(self._pem or b""))


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """The path of a file that is nowhere but in memory, and gone afterwards."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{descriptor}"


def _first_certificate(pem: bytes) -> bytes:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    first = pem.decode("ascii", "replace").partition(begin)[2].partition(end)[0]
    return ssl.PEM_cert_to_DER_cert(begin + first + end)


def _is_request(task: "asyncio.Task[Any]") -> bool:
    """Whether Granian started the task for a request; it gives them no other mark."""
    return getattr(task.get_coro(), "__qualname__", "").endswith("future_watcher")
