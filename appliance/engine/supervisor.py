"""The real engine: one worker process per device, so that the Go library's crashes and hangs stay where they
are."""

import asyncio
import contextlib
import logging
import weakref
from collections.abc import Callable
from functools import partial

from appliance.engine import lock, spool
from appliance.engine.base import Applied, EventSink, Incoming, SessionSpec
from appliance.engine.launcher import ForkServerLauncher, Launcher
from appliance.engine.library_file import LibraryFile
from appliance.engine.session import Deadlines, RealSession
from appliance.model.tally import Tally

log = logging.getLogger(__name__)

_TRANSFERS = 2
_RECOVER_S = 10.0
"""A worker ends by itself in a second or two, on a machine that is out of breath in several: killed then, it
would lose what it is in the middle of decrypting."""
_OURS = (
    "session.db",
    "session.db-wal",
    "session.db-shm",
    "session.db-journal",
    "spool",
    "worker.log",
    "lock",
)


class RealEngine:
    """Makes sessions, keeps what their workers left behind, and ends them all. `lives` counts workers that
    were `restarted` or `killed`, by device."""

    def __init__(
        self,
        launcher: Launcher,
        *,
        proxy: str | None = None,
        deadlines: Deadlines | None = None,
        single_device: bool = False,
    ) -> None:
        self.single_device = single_device
        self._launcher = launcher
        self._proxy = proxy
        self._deadlines = deadlines or Deadlines()
        self._transfers = asyncio.Semaphore(_TRANSFERS)
        self._sessions: weakref.WeakSet[RealSession] = weakref.WeakSet()
        self._sink: EventSink | None = None
        self._library: LibraryFile | None = None
        self.lives = Tally()

    async def open(self, sink: EventSink) -> None:
        self._sink = sink

    async def recover(self, spec: SessionSpec) -> None:
        """See the port. Returns once the sink has been given everything; the spool goes with the last
        acknowledgement."""
        spec.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(lock.wait_free, spec.folder, _RECOVER_S)
        mark = spool.mark_of(spec.folder)
        waiting = await asyncio.to_thread(spool.read, spec.folder)
        if not waiting:
            spool.delete(spec.folder, mark)
            return
        log.info("spool_retold", extra={"device": spec.device_id, "events": len(waiting)})
        left = {(told.incarnation, told.seq) for told in waiting}
        for told in waiting:
            ack = _ticked(left, (told.incarnation, told.seq), partial(spool.delete, spec.folder, mark))
            await self._given(Incoming(spec.device_id, told.event, ack, told.incarnation, told.seq))

    def session(self, spec: SessionSpec) -> RealSession:
        made = RealSession(
            spec,
            self._launcher,
            self._given,
            self._prepare,
            self._transfers,
            self._deadlines,
            self._proxy,
            self.lives,
        )
        self._sessions.add(made)
        return made

    def processes(self) -> list[tuple[str, str, int]]:
        """Kind (`worker`, `fork_server`), device and process number of every helper that runs."""
        found = [
            ("worker", session.device_id, pid)
            for session in self._sessions
            if (pid := session.worker_pid) is not None
        ]
        if isinstance(self._launcher, ForkServerLauncher) and self._launcher.pid is not None:
            found.append(("fork_server", "", self._launcher.pid))
        return found

    async def forget(self, spec: SessionSpec) -> None:
        await asyncio.to_thread(lock.wait_free, spec.folder, _RECOVER_S)
        for name in _OURS:
            (spec.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not there, or somebody else's files are in it
            spec.folder.rmdir()

    async def close(self) -> None:
        await asyncio.gather(*(session.stop() for session in list(self._sessions)))
        await self._launcher.close()

    async def _prepare(self, spec: SessionSpec) -> None:
        """What must be done before a worker is started. Raises LibraryError."""
        await self.recover(spec)
        if self._library is None:
            self._library = LibraryFile.here()
        await asyncio.to_thread(self._library.check_once)

    async def _given(self, incoming: Incoming) -> None:
        if self._sink is None:
            raise RuntimeError("the engine is not open")
        await self._sink(incoming)


def _ticked(
    left: set[tuple[int, int]], number: tuple[int, int], when_all: Callable[[], None]
) -> Callable[[Applied | None], None]:
    def ack(_applied: Applied | None) -> None:
        if number in left:
            left.discard(number)
            if not left:
                when_all()

    return ack
