"""A device's session as main sees it: a worker is kept alive while the session is wanted, and given
commands."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from appliance.engine import wire
from appliance.engine.backoff import Backoff
from appliance.engine.base import (
    Applied,
    EngineError,
    EngineEvent,
    EventSink,
    Incoming,
    Linked,
    OutgoingMessage,
    PairCode,
    Sent,
    SessionSpec,
    StateChanged,
)
from appliance.engine.launcher import Launcher
from appliance.engine.library_file import LibraryError
from appliance.engine.link import Link
from appliance.model.device import ENDED, DeviceStatus
from appliance.model.tally import Tally

log = logging.getLogger(__name__)

T = TypeVar("T")
_AWAY = frozenset({DeviceStatus.CONNECTING, DeviceStatus.RECONNECTING})


class Deadlines(msgspec.Struct, frozen=True):
    """Seconds. `away_s`: how long a session may stay without a connection before its worker is replaced;
    `stop_s`: longer than a worker of a busy machine takes at most to tell what it has in hand."""

    send_s: float = 60
    media_s: float = 300
    pair_code_s: float = 30
    logout_s: float = 20
    download_s: float = 120
    check_s: float = 20
    away_s: float = 60
    stop_s: float = 8
    hand_over_s: float = 0.8


class RealSession:
    """One device's connection to WhatsApp, in a worker of its own. `lives` counts workers that were
    `restarted` or `killed`."""

    def __init__(
        self,
        spec: SessionSpec,
        launcher: Launcher,
        sink: EventSink,
        prepare: Callable[[SessionSpec], Awaitable[None]],
        transfers: asyncio.Semaphore,
        deadlines: Deadlines,
        proxy: str | None,
        lives: Tally,
    ) -> None:
        self._spec = spec
        self._launcher = launcher
        self._sink = sink
        self._prepare = prepare
        self._transfers = transfers
        self._deadlines = deadlines
        self._proxy = proxy
        self._lives = lives
        self._status = DeviceStatus.DISCONNECTED
        self._away_since = 0.0
        self._linked = spec.linked
        self._incarnation = 0
        self._link: Link | None = None
        self._life: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[Incoming] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None
        self._reason: str | None = None
        self._moved = asyncio.Event()
        self._stopping = False
        self._one_send = asyncio.Lock()
        self._one_transfer = asyncio.Lock()

    @property
    def device_id(self) -> str:
        return self._spec.device_id

    @property
    def worker_pid(self) -> int | None:
        """The worker's process, None while there is none."""
        return self._link.pid if self._link is not None else None

    async def start(self) -> None:
        if self._life is not None and not self._life.done():
            return
        self._stopping = False
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._hand_over(), name=f"events {self._spec.device_id}")
        self._tell(StateChanged(DeviceStatus.CONNECTING))
        self._life = asyncio.create_task(self._live(), name=f"session {self._spec.device_id}")

    async def stop(self) -> None:
        self._stopping = True
        life, self._life = self._life, None
        if self._link is not None:
            await self._link.end(self._deadlines.stop_s)
        if life is not None:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
        if self._pump is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._deadlines.hand_over_s):
                    await self._events.join()
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
            self._pump = None
        self._status = DeviceStatus.DISCONNECTED

    async def send(self, message: OutgoingMessage) -> Sent:
        if message.media is None:
            return await self._send(message, self._deadlines.send_s)
        async with self._transfer(self._deadlines.media_s):
            return await self._send(message, self._deadlines.media_s)

    async def pair_code(self, phone: str) -> PairCode:
        """See the port; a session that is about to show its first QR code is waited for."""
        half_s = self._deadlines.pair_code_s / 2
        try:
            async with asyncio.timeout(half_s):
                while self._status is DeviceStatus.CONNECTING:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise EngineError("no_qr", "WhatsApp cannot be reached now", retryable=True) from None
        if self._status is not DeviceStatus.QR:
            raise EngineError("no_qr", "the session shows no QR code now", retryable=True)
        return await self._call(lambda n: wire.MakePairCode(n, phone), PairCode, half_s)

    async def logout(self) -> None:
        try:
            self._require_connected()
            await self._call(wire.Logout, type(None), self._deadlines.logout_s)
        except EngineError as error:
            raise EngineError("unlink_unconfirmed", error.text, unknown_outcome=True) from None

    async def download(self, source: bytes, path: Path) -> int:
        self._require_connected()
        async with self._transfer(self._deadlines.download_s):
            return await self._call(
                lambda n: wire.Download(n, source, str(path)), int, self._deadlines.download_s
            )

    async def check(self, phones: list[str]) -> dict[str, str | None]:
        self._require_connected()
        return await self._call(
            lambda n: wire.Check(n, phones), dict[str, str | None], self._deadlines.check_s
        )

    async def _send(self, message: OutgoingMessage, deadline_s: float) -> Sent:
        async with self._one_send:
            self._require_connected()
            return await self._call(lambda n: wire.Send(n, message), Sent, deadline_s)

    async def _call(self, request: Callable[[int], wire.Request], shape: type[T], deadline_s: float) -> T:
        if self._link is None:
            raise EngineError("not_connected", "the session is not running", retryable=True)
        return await self._link.call(request, shape, deadline_s)

    def _require_connected(self) -> None:
        if self._stopping:
            raise EngineError("not_connected", "the session is being stopped", retryable=True)
        if self._status is not DeviceStatus.CONNECTED:
            raise EngineError("not_connected", f"the session is {self._status}", retryable=True)

    @contextlib.asynccontextmanager
    async def _transfer(self, wait_s: float) -> AsyncIterator[None]:
        """One file at a time for a session, two in all: a transfer holds the whole file in memory."""
        async with contextlib.AsyncExitStack() as held:
            try:
                async with asyncio.timeout(wait_s):
                    await held.enter_async_context(self._one_transfer)
                    await held.enter_async_context(self._transfers)
            except TimeoutError:
                raise EngineError(
                    "engine_timeout", "too many files are on their way", retryable=True
                ) from None
            yield

    async def _live(self) -> None:
        """One worker after the other until the session is over."""
        backoff = Backoff()
        while True:
            began = time.monotonic()
            try:
                await self._one_worker()
            except LibraryError as error:
                log.critical(
                    "engine_library_refused", extra={"device": self._spec.device_id, "error": str(error)}
                )
                self._tell(StateChanged(self._away_status(), "library_damaged"))
                backoff.slow()
            except Exception:
                log.exception("session_failed", extra={"device": self._spec.device_id})
            if self._is_over():
                return
            if self._status not in _AWAY:
                self._tell(StateChanged(self._away_status(), "worker_ended"))
            if self._reason == "replaced":
                backoff.slow()
            self._lives.add(self._spec.device_id, "restarted")
            await asyncio.sleep(backoff.next_s(time.monotonic() - began))

    async def _one_worker(self) -> None:
        self._incarnation = max(time.time_ns() // 1_000_000, self._incarnation + 1)
        start = wire.Start(
            self._spec.device_id,
            str(self._spec.folder),
            self._incarnation,
            self._linked,
            self._spec.proxy or self._proxy,
        )
        self._reason = None
        self._away_since = time.monotonic()
        await self._prepare(self._spec)
        self._link = link = await Link.launch(self._launcher, start, self._arrived)
        try:
            await self._watch(link)
        finally:
            self._link = None
            if link.was_killed:
                self._lives.add(self._spec.device_id, "killed")

    async def _watch(self, link: Link) -> None:
        """Returns when the worker is dead; ends one that has been away from WhatsApp for too long."""
        ended = asyncio.ensure_future(link.ended())
        while not ended.done():
            away_s = time.monotonic() - self._away_since if self._status in _AWAY else 0.0
            left_s = self._deadlines.away_s - away_s
            if left_s <= 0:
                log.warning("session_stays_away", extra={"device": self._spec.device_id})
                await link.end(self._deadlines.stop_s)
                break
            await asyncio.wait({ended}, timeout=min(left_s, 5.0))
        await ended

    def _is_over(self) -> bool:
        return self._stopping or self._status in ENDED or self._status is DeviceStatus.DISCONNECTED

    def _away_status(self) -> DeviceStatus:
        return DeviceStatus.RECONNECTING if self._linked else DeviceStatus.CONNECTING

    def _arrived(self, told: wire.Told) -> None:
        link = self._link

        def ack(_applied: Applied | None) -> None:
            if link is not None:
                link.acknowledge(told.seq)

        self._note(told.event)
        self._events.put_nowait(Incoming(self._spec.device_id, told.event, ack, told.incarnation, told.seq))

    def _tell(self, event: EngineEvent) -> None:
        """Tell something that main itself knows of the session."""
        self._note(event)
        self._events.put_nowait(Incoming(self._spec.device_id, event, lambda _applied: None))

    def _note(self, event: EngineEvent) -> None:
        match event:
            case StateChanged(status, reason):
                if status in _AWAY and self._status not in _AWAY:
                    self._away_since = time.monotonic()
                self._status, self._reason = status, reason
                self._moved.set()
                self._linked = self._linked or status is DeviceStatus.CONNECTED
            case Linked():
                self._linked = True

    async def _hand_over(self) -> None:
        while True:
            incoming = await self._events.get()
            try:
                await self._sink(incoming)
            except Exception:
                log.exception("event_not_taken", extra={"device": self._spec.device_id})
            finally:
                self._events.task_done()
