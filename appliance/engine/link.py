"""Main's side of one worker: its process, its socket, and the commands that wait for an answer."""

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Callable
from typing import TypeVar

import msgspec

from appliance.engine import wire
from appliance.engine.base import EngineError
from appliance.engine.launcher import Launcher, Worker

log = logging.getLogger(__name__)

T = TypeVar("T")
_READ_BYTES = 1 << 16
_burials: set[asyncio.Task[None]] = set()
"""The loop itself keeps no task alive."""


class Pending(msgspec.Struct):
    """A command under way; `begun` once its outcome cannot be known without an answer."""

    answer: asyncio.Future[wire.Result]
    begun: bool = False


class Link:
    """One worker from launch to death. Everything it wrote is read, also after it has died. `was_killed`: it
    hung, or said what cannot be read."""

    def __init__(
        self,
        process: Worker,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_told: Callable[[wire.Told], None],
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._on_told = on_told
        self._numbers = itertools.count(1)
        self._pending: dict[int, Pending] = {}
        self._open = True
        self.was_killed = False
        self._life = asyncio.create_task(self._live(), name=f"worker {process.pid}")

    @classmethod
    async def launch(
        cls, launcher: Launcher, start: wire.Start, on_told: Callable[[wire.Told], None]
    ) -> "Link":
        """Start a worker with that session. Raises OSError."""
        ours, theirs = socket.socketpair()
        launching = asyncio.create_task(_launched(launcher, theirs))
        try:
            process = await asyncio.shield(launching)
        except BaseException:
            ours.close()  # a worker that comes to life all the same finds nobody, and ends
            launching.add_done_callback(_abandoned)
            raise
        reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
        link = cls(process, reader, writer, on_told)
        link._write(start)
        return link

    @property
    def pid(self) -> int:
        return self._process.pid

    async def call(self, request: Callable[[int], wire.Request], shape: type[T], deadline_s: float) -> T:
        """Have a command performed. Past the deadline the worker is killed: nothing else cancels a call that
        hangs in Go. Raises EngineError."""
        n = next(self._numbers)
        pending = Pending(asyncio.get_running_loop().create_future())
        if not self._open:
            raise _gone(pending)
        self._pending[n] = pending
        try:
            self._write(request(n))
            async with asyncio.timeout(deadline_s):
                result = await pending.answer
        except TimeoutError:
            log.warning("worker_killed", extra={"pid": self.pid, "after_s": deadline_s})
            self.kill()
            raise EngineError(
                "engine_timeout",
                f"no answer within {deadline_s:g} s",
                unknown_outcome=pending.begun,
                retryable=not pending.begun,
            ) from None
        finally:
            self._pending.pop(n, None)
        return wire.value_of(result, shape)

    def acknowledge(self, seq: int) -> None:
        """That event is committed. Harmless when the worker is gone."""
        self._write(wire.Ack(seq))

    def kill(self) -> None:
        self.was_killed = True
        self._process.kill()

    async def ended(self) -> None:
        """Returns when the worker is dead and everything it wrote has been handed on."""
        await asyncio.shield(self._life)

    async def end(self, within_s: float) -> None:
        """Ask the worker to stop, and kill it when it has not within that time."""
        self._write(wire.Stop())
        try:
            async with asyncio.timeout(within_s):
                await self.ended()
        except TimeoutError:
            log.warning("worker_killed", extra={"pid": self.pid, "after_s": within_s})
            self.kill()
            await self.ended()

    def _write(self, message: wire.Down) -> None:
        if self._open:
            self._writer.write(wire.frame(message))

    async def _live(self) -> None:
        try:
            await self._read()
        except (ValueError, msgspec.DecodeError, ConnectionError) as error:
            log.error("worker_unreadable", extra={"pid": self.pid, "error": type(error).__name__})
            self.kill()
        finally:
            self._open = False
            self._writer.close()
            for pending in self._pending.values():
                if not pending.answer.done():
                    pending.answer.set_exception(_gone(pending))
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()
            await self._process.dead()

    async def _read(self) -> None:
        frames = wire.FrameReader()
        while data := await self._reader.read(_READ_BYTES):
            frames.feed(data)
            for report in frames.reports():
                self._take(report)

    def _take(self, report: wire.Up) -> None:
        match report:
            case wire.Told():
                self._on_told(report)
            case wire.Begun(n):
                if n in self._pending:
                    self._pending[n].begun = True
            case wire.Result(n):
                if n in self._pending and not self._pending[n].answer.done():
                    self._pending[n].answer.set_result(report)
            case wire.Failure(n):
                if n in self._pending and not self._pending[n].answer.done():
                    self._pending[n].answer.set_exception(report.error())
            case wire.Hello(pid, version):
                log.info("worker_runs", extra={"pid": pid, "library": version})


async def _launched(launcher: Launcher, theirs: socket.socket) -> Worker:
    with theirs:
        return await launcher.launch(theirs)


def _abandoned(launching: asyncio.Task[Worker]) -> None:
    if not launching.cancelled() and launching.exception() is None:
        burial = asyncio.create_task(launching.result().dead())
        _burials.add(burial)
        burial.add_done_callback(_burials.discard)


def _gone(pending: Pending) -> EngineError:
    if pending.begun:
        return EngineError("engine_error", "the session's process ended", unknown_outcome=True)
    return EngineError("not_connected", "the session's process ended", retryable=True)
