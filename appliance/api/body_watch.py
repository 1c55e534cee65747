"""Gives up on bodies that stall or trickle: Granian bounds only the wait for headers, so that a slow
sender would hold its connection for ever. And reads what an answer came before."""

import asyncio
from typing import Any, cast

from litestar.types import HTTPReceiveMessage, Receive

from appliance.api.problems import RequestTimeout

IDLE_S = 10.0
FIRST_S = 20.0
"""How long a body may take, apart from what its size allows it."""
SLOWEST_BYTES_PER_S = 16 * 1024
LOOK_EVERY_S = 1.0
REST_BYTES, REST_S = 64 * 1024, 1.0
"""Of a body that nobody wanted, so much is read, and waited for so long."""
AT_ONCE = 32
SOON_S = 0.02
"""Refusing a body costs a whole answer: should thousands stall together, others get their turn between."""


class BodyWatches:
    """Looks through the waiting bodies every second while there are any: a timer for each of them would be
    a tenth of what a request costs."""

    def __init__(
        self, idle_s: float = IDLE_S, first_s: float = FIRST_S, look_every_s: float = LOOK_EVERY_S
    ) -> None:
        self.idle_s = idle_s
        self.first_s = first_s
        self._look_every_s = look_every_s
        self._waiting: set[BodyWatch] = set()
        self._looking = False

    def of(self, receive: Receive) -> "BodyWatch":
        return BodyWatch(receive, self)

    def began(self, watch: "BodyWatch") -> None:
        self._waiting.add(watch)
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(self._look_every_s, self._look)

    def ended(self, watch: "BodyWatch") -> None:
        self._waiting.discard(watch)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = [watch for watch in self._waiting if watch.is_late(now)]
        for watch in late[:AT_ONCE]:
            watch.give_up()
        self._looking = bool(self._waiting)
        if self._looking:
            loop.call_later(SOON_S if len(late) > AT_ONCE else self._look_every_s, self._look)


class BodyWatch:
    """The `receive` of one request."""

    __slots__ = ("_deadline", "_done", "_gave_up", "_idle_from", "_loop", "_receive", "_task", "_watches")

    def __init__(self, receive: Receive, watches: BodyWatches) -> None:
        self._receive = receive
        self._watches = watches
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + watches.first_s
        self._idle_from = 0.0
        self._task: asyncio.Task[Any] | None = None
        self._gave_up = False
        self._done = False

    async def __call__(self) -> HTTPReceiveMessage:
        """The next message. Raises RequestTimeout; after the body's end it waits without limit
        (disconnect)."""
        if self._done:
            return cast("HTTPReceiveMessage", await self._receive())
        self._task, self._idle_from = asyncio.current_task(), self._loop.time()
        self._watches.began(self)
        try:
            message = cast("HTTPReceiveMessage", await self._receive())
        except asyncio.CancelledError:
            if not self._gave_up or self._task is None or self._task.uncancel() > 0:
                raise
            raise RequestTimeout("The body stalled or came too slowly; send it again.") from None
        finally:
            self._watches.ended(self)
        self._count(message)
        return message

    @property
    def is_read(self) -> bool:
        """Whether the body's end was seen."""
        return self._done and not self._gave_up

    async def read_rest(self) -> bool:
        """Before an answer: read what is left of the body, if that is little and comes soon. False when it
        did not: the connection cannot be used again, and has to say so."""
        left = REST_BYTES
        try:
            async with asyncio.timeout(REST_S):
                while not self._done and left > 0:
                    message = cast("HTTPReceiveMessage", await self._receive())
                    self._count(message)
                    left -= len(message["body"]) if message["type"] == "http.request" else 0
        except TimeoutError:
            return False
        return self.is_read

    def is_late(self, now: float) -> bool:
        """Whether the wait has lasted too long."""
        return not self._gave_up and now >= min(self._idle_from + self._watches.idle_s, self._deadline)

    def give_up(self) -> None:
        """End the wait."""
        assert self._task is not None, "a body that is waited for has a task"
        self._gave_up = self._done = True
        self._task.cancel()

    def _count(self, message: HTTPReceiveMessage) -> None:
        if message["type"] == "http.request":
            self._deadline += len(message["body"]) / SLOWEST_BYTES_PER_S
            self._done = self._done or not message.get("more_body")
        else:
            self._done = True
