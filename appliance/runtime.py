"""One life of the gateway: every part is started in order, watched while it runs, and stopped in the
reverse order."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvloop

from appliance import data_dir, heap, systemd
from appliance.config import Config
from appliance.control import ControlSocket
from appliance.house import House, build
from appliance.logs import Logs
from appliance.model.errors import GatewayError
from appliance.model.told import Told, refused_by_system
from appliance.operations import asked
from appliance.reload import Reload
from appliance.server import HttpServer, check_port
from appliance.store import opening
from appliance.store.database import Database
from appliance.store.opening import Opening

if TYPE_CHECKING:
    from appliance.certificates import Certificates

log = logging.getLogger(__name__)

Builder = Callable[[Config, Database, Opening], House]

SESSIONS_STOP_S = 9.0
INBOUND_DRAIN_S = 3.0
DELIVERIES_STOP_S = 8.0
SECOND_SIGNAL_S = 2.0
WATCHDOG_PROBE_S = 10.0
EXIT_USAGE = 2
STDIN = 0
SWITCH_INTERVAL_S = 0.0005


class CannotStart(Told):
    """The disk, or the system, refused something while the gateway started."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a life is led in: `read` reads the configuration again, None: it cannot be; `certificates` are
    what https is served with, None: plain http."""

    logs: Logs
    read: Callable[[], Config] | None
    certificates: "Certificates | None"


def run(
    config: Config,
    builder: Builder = build,
    *,
    read: Callable[[], Config] | None = None,
    certificates: "Certificates | None" = None,
) -> int:
    """Serve what `builder` makes, until a signal or a failure; returns the exit code: 0 after a signal, 1
    after a failure, 2 if it cannot start."""
    # The writer's thread asks for the interpreter after every statement: while requests are being handled it
    # would wait Python's own 5 ms each time.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    heap.hold()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with contextlib.ExitStack() as held:
            with _starting(config):
                around = Surroundings(Logs(config.logs), read, certificates)
                held.enter_context(data_dir.lock(config.data))
                check_port(config.server.host, config.server.port)
                if certificates is not None:
                    certificates.prepare()
                database = data_dir.database_path(config.data)
                with systemd.taking_long():
                    opened = opening.make_ready(database, config.store)
            code = uvloop.run(_live(config, opened, builder, around))
            if code == 0:
                opening.ended(database)
            return code
    except Told as error:
        print(f"wa-gateway: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_USAGE
    finally:
        logging.shutdown()


@contextlib.contextmanager
def _starting(config: Config) -> Iterator[None]:
    """What is refused meanwhile is told in a sentence; from then on it is a failure of ours. Raises
    CannotStart."""
    try:
        yield
    except OSError as error:
        raise CannotStart(f"cannot start: {refused_by_system(error, config.data)}") from error
    except GatewayError as error:
        raise CannotStart(f"cannot start: {error.detail}") from error


async def _live(config: Config, opened: Opening, builder: Builder, around: Surroundings) -> int:
    path = data_dir.database_path(config.data)
    db = Database(path, config.store)
    with opening.using(path):
        await db.open()
    try:
        with _starting(config):
            life = Life(config, builder(config, db, opened), around)
        return await life.run()
    finally:
        # Also when building fails: an unclosed reader would keep the process alive for ever.
        await db.close()


class Life:
    """Start, serve, stop."""

    def __init__(self, config: Config, house: House, around: Surroundings) -> None:
        self._config = config
        self._house = house
        self._certificates = around.certificates
        self._reload = _reload(config, house, around)
        self._reloading: asyncio.Task[None] | None = None
        self._began_on_terminal = os.isatty(STDIN)
        self._stop = asyncio.Event()
        self._signalled_at = 0.0
        self._loops: list[asyncio.Task[None]] = []
        self._failed = False
        house.readiness.sessions_started = lambda: house.gateway.devices.resumed and not self._stop.is_set()

    async def run(self) -> int:
        """The whole life; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        started_at = time.monotonic()
        control = ControlSocket(self._config.data, asked.commands(self._house))
        pem = self._certificates.pem if self._certificates else None
        server = HttpServer(self._house.app, self._config.server.host, self._config.server.port, pem)
        program = heap.loaded()
        try:
            with _starting(self._config):
                await self._open()
                await control.open()
                await server.start()
                if self._certificates is not None:
                    self._begin("certificates", self._certificates.run(server.replace))
                self._greet()
                await self._house.gateway.devices.resume()
            systemd.notify("READY=1")
            loop.add_signal_handler(signal.SIGHUP, self._hung_up)
            log.info("ready", extra={"ms": int((time.monotonic() - started_at) * 1000)})
            heap.settle(program)
            serving = asyncio.create_task(server.serving(), name="http")
            stopped = asyncio.create_task(self._stop.wait(), name="stop")
            await asyncio.wait({serving, stopped, *self._loops}, return_when=asyncio.FIRST_COMPLETED)
            self._note_failures(serving)
            stopped.cancel()
        finally:
            systemd.notify("STOPPING=1")
            await control.close()
            await self._close(server)
        return 1 if self._failed else 0

    async def _open(self) -> None:
        """Everything that must stand before the first request: recovery first, then the loops."""
        house = self._house
        self._begin("store", house.db.watch())
        await house.open()
        self._begin("inbound", house.inbound.run())
        await house.open_engines()
        await house.gateway.devices.recover()
        await house.inbound.drained()
        await house.drains.recover()
        for name, work in house.loops().items():
            self._begin(name, work)
        if (every_s := systemd.watchdog_s()) is not None:
            self._begin("watchdog", self._feed_watchdog(every_s))

    async def _close(self, server: HttpServer) -> None:
        """Streams and requests end first, then sessions, then what they told is committed, then the store
        closes."""
        house = self._house
        log.info("stopping")
        self._stop.set()
        house.gateway.events.close()
        await server.stop()
        await _within(SESSIONS_STOP_S, house.close_engines(), "sessions")
        await _within(INBOUND_DRAIN_S, house.inbound.drained(), "inbound")
        await _within(DELIVERIES_STOP_S, house.deliveries.stop(), "deliveries")
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        house.close()
        log.info("stopped")

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._loops.append(asyncio.create_task(work, name=name))

    def _note_failures(self, serving: asyncio.Task[None]) -> None:
        """A loop that ended is a failure: systemd starts the process again, in a known state."""
        for task in (serving, *self._loops):
            if task.done() and not self._stop.is_set():
                self._failed = True
                error = None if task.cancelled() else task.exception()
                log.error("loop_ended", extra={"loop": task.get_name()}, exc_info=error)

    def _signalled(self, number: int) -> None:
        now = time.monotonic()
        if not self._stop.is_set():
            log.info("signal", extra={"signal": signal.Signals(number).name})
            self._signalled_at = now
            self._stop.set()
        elif now - self._signalled_at > SECOND_SIGNAL_S:
            log.warning("second_signal")
            logging.shutdown()
            os._exit(130)

    def _hung_up(self) -> None:
        """Read the configuration again; or stop, when this is the end of the terminal that it was started
        on."""
        if self._began_on_terminal and not os.isatty(STDIN):
            self._signalled(signal.SIGHUP)
        elif self._reload is not None and not self._stop.is_set():
            self._reloading = asyncio.create_task(self._reload(), name="reload")

    async def _feed_watchdog(self, every_s: float) -> None:
        """Tell systemd that we live, but only while the writer answers; a disk that refuses is an answer."""
        while True:
            with contextlib.suppress(GatewayError):
                async with asyncio.timeout(WATCHDOG_PROBE_S):
                    await self._house.db.transaction(lambda _tx: None)
            systemd.notify("WATCHDOG=1")
            await asyncio.sleep(every_s)

    def _greet(self) -> None:
        """Say where to go, on the terminal of whoever started it; the setup token itself only on a
        terminal."""
        house, address = self._house, self._house.base_url
        log.info("listening", extra={"url": address})
        if not house.gateway.accounts.is_empty:
            return
        log.info("setup_token", extra={"path": str(house.setup_token.path)})
        if sys.stderr.isatty():
            token = house.setup_token.ensure()
            print(f"\n  Open {address}/register\n  Setup token: {token}\n", file=sys.stderr)  # noqa: T201


async def _within(seconds: float, work: Coroutine[Any, Any, None], what: str) -> None:
    """Do the work, or give up on it: stopping must end."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        log.warning("stop_cut_short", extra={"what": what, "after_s": seconds})


def _reload(config: Config, house: House, around: Surroundings) -> Reload | None:
    """Make the parts that follow the configuration known to each other, and to the dashboard."""
    installation, certificates = house.gateway.installation, around.certificates
    installation.log_lines = around.logs.lines
    if certificates is not None:
        installation.certificate = certificates.state
    if around.read is None:
        return None
    use = [lambda fresh: around.logs.use(fresh.logs), house.use]
    if certificates is not None:
        use.append(lambda fresh: certificates.use(fresh.tls))
    reload = Reload(around.read, config, use)
    installation.reload, installation.reloaded = reload, reload.last
    return reload
