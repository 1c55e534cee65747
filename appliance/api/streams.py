"""Answers that take their time, so that they can be ended: streams at a key's rotation, all before the
server stops."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator

from appliance.api.event_tape import Tape
from appliance.gateway.events import EventLog


class Stream:
    """One open stream or waiting poll: it looks at `is_open` before it goes on."""

    __slots__ = ("_ended", "account_id")

    def __init__(self, account_id: str, *, ended: bool) -> None:
        self.account_id = account_id
        self._ended = ended

    def end(self) -> None:
        self._ended = True

    def is_open(self) -> bool:
        return not self._ended


class Streams:
    """The open streams of all accounts."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._open: set[Stream] = set()
        self._waits: set[asyncio.Timeout] = set()
        self._of: Counter[str] = Counter()
        self._tapes: dict[str, Tape] = {}
        self._stopping = False
        events.on_wake.append(self._changed)

    def __len__(self) -> int:
        return len(self._open)

    @contextlib.contextmanager
    def opened(self, account_id: str) -> Iterator[Stream]:
        """A stream for as long as it is followed."""
        stream = Stream(account_id, ended=self._stopping)
        self._open.add(stream)
        self._of[account_id] += 1
        try:
            yield stream
        finally:
            self._open.discard(stream)
            self._of[account_id] -= 1
            if not self._of[account_id]:
                del self._of[account_id]
                self._tapes.pop(account_id, None)

    def tape(self, account_id: str, start: int) -> Tape:
        """The tape that the account's streams share, as long as one of them is open; a new one begins at
        `start`."""
        if account_id not in self._tapes:
            self._tapes[account_id] = Tape(self._events, account_id, start)
        return self._tapes[account_id]

    @contextlib.asynccontextmanager
    async def until_stop(self) -> AsyncIterator[None]:
        """A wait that is given up, silently, when the server stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0 if self._stopping else None) as wait:
                self._waits.add(wait)
                try:
                    yield
                finally:
                    self._waits.discard(wait)

    def end_of(self, account_id: str) -> None:
        """End the account's streams: its key was rotated."""
        for stream in self._open:
            if stream.account_id == account_id:
                stream.end()
        self._events.wake(account_id)

    def _changed(self, account_id: str) -> None:
        if (tape := self._tapes.get(account_id)) is not None:
            tape.changed()

    def end_all(self) -> None:
        """End every stream and every wait, and those that begin from now on at once."""
        self._stopping = True
        for wait in self._waits:
            wait.reschedule(asyncio.get_running_loop().time())
        for account_id in {stream.account_id for stream in self._open}:
            self.end_of(account_id)
