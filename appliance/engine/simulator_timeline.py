"""A pretend session's future: events told when their time has come, one after the other."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import msgspec

from appliance.engine.base import Applied, EngineError, EngineEvent

log = logging.getLogger(__name__)

LIMIT = 10_000
COMMIT_DEADLINE_S = 30.0
_END_S = 1.0

Ack = Callable[[Applied | None], None]
Tell = Callable[[EngineEvent, Ack], Awaitable[None]]
Happening = Callable[[], EngineEvent | None]


class _Due(msgspec.Struct):
    """Something whose time has come. `network`: it reaches us only while we are connected."""

    happening: Happening
    ack: Ack
    network: bool


class Timeline:
    """What is going to happen to one session; what the network brings is held back while it is offline.

    Not more than LIMIT happenings should wait at a time: who makes many of them asks for `room` first.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._due: asyncio.Queue[_Due] = asyncio.Queue()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._held: list[_Due] = []
        self._online = False
        self._numbers = 0
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._teller: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start telling. Idempotent."""
        if self._teller is None:
            self._teller = asyncio.create_task(self._run(), name="pretend-session")

    async def end(self) -> None:
        """Nothing more happens: what still waits is dropped, what is being told gets a second to be taken."""
        self._online = False
        while not self._due.empty():
            self._held.append(self._due.get_nowait())
        self.drop()
        teller, self._teller = self._teller, None
        if teller is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await self._idle.wait()
            teller.cancel()
            await asyncio.wait([teller])
        self._make_room()

    def drop(self) -> None:
        """Forget what is still to come, and what was held back."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        dropped, self._held = self._held, []
        for due in dropped:
            due.ack(None)

    def set_online(self, online: bool) -> None:
        """The connection was lost or came back; what was held back meanwhile arrives now."""
        self._online = online
        if online:
            held, self._held = self._held, []
            for due in held:
                self._due.put_nowait(due)

    async def room(self) -> None:
        """Wait until fewer than LIMIT happenings wait."""
        await self._room.wait()

    def later(self, delay_s: float, happening: Happening, *, network: bool = True) -> None:
        """Let it happen after `delay_s`; what it returns then is told, unless that is None."""
        due = _Due(happening, _nobody_waits, network)
        if delay_s <= 0:
            self._due.put_nowait(due)
        else:
            self._numbers += 1
            number = self._numbers
            self._timers[number] = asyncio.get_running_loop().call_later(delay_s, self._come, number, due)
        self._make_room()

    async def now(self, happening: Happening, *, network: bool = True) -> Applied:
        """Let it happen now and wait for its COMMIT.

        Raises EngineError `engine_timeout` when that does not come in COMMIT_DEADLINE_S; it may come later.
        """
        done: asyncio.Future[Applied | None] = asyncio.get_running_loop().create_future()
        self._due.put_nowait(_Due(happening, lambda applied: _settle(done, applied), network))
        self._make_room()
        try:
            async with asyncio.timeout(COMMIT_DEADLINE_S):
                return await done or Applied()
        except TimeoutError:
            raise EngineError("engine_timeout", "the event was not committed in time") from None

    def _come(self, number: int, due: _Due) -> None:
        del self._timers[number]
        self._due.put_nowait(due)

    async def _run(self) -> None:
        while True:
            due = await self._due.get()
            if due.network and not self._online:
                self._held.append(due)
                continue
            self._idle.clear()
            try:
                await self._happen(due)
            except Exception as error:  # noqa: BLE001 (one event that cannot be told must not end the session)
                log.error("pretend_event_failed", extra={"error": type(error).__name__})
                due.ack(None)
            finally:
                self._idle.set()
                self._make_room()

    async def _happen(self, due: _Due) -> None:
        event = due.happening()
        if event is None:
            due.ack(None)
        else:
            await self._tell(event, due.ack)

    def _make_room(self) -> None:
        if len(self._timers) + self._due.qsize() + len(self._held) < LIMIT:
            self._room.set()
        else:
            self._room.clear()


def _nobody_waits(_applied: Applied | None) -> None:
    return None


def _settle(done: asyncio.Future[Applied | None], applied: Applied | None) -> None:
    if not done.done():
        done.set_result(applied)
