"""The newest events of an account as stream bytes: read and encoded once for everybody who follows."""

import asyncio
import bisect
from operator import attrgetter

import msgspec

from appliance.gateway.events import EventLog, Page
from appliance.model.event import Event, EventType

READ_AT_ONCE = 32
KEPT_EVENTS = 512
KEPT_BYTES = 512 * 1024
PART_BYTES = 32 * 1024
"""A part ends with the event that reaches this: what a reader that has stopped reading holds in memory,
beside one event of up to 100 kB."""

_NAMES = {EventType.DEVICE_STATUS: b"status"}
_NUMBER = attrgetter("no")


class Wanted(msgspec.Struct, frozen=True):
    """What a follower asks for: these types (none: all), of one device (None: of all)."""

    types: tuple[EventType, ...] = ()
    device_id: str | None = None

    def takes(self, entry: "Entry") -> bool:
        return (not self.types or entry.type in self.types) and self.device_id in {None, entry.device_id}


class Entry(msgspec.Struct, frozen=True):
    """An event as the stream tells it."""

    no: int
    type: EventType
    device_id: str
    told: bytes


class Part(msgspec.Struct, frozen=True):
    """Bytes of a stream; the reader is complete up to number `upto` with them. `more`: there may be more
    now."""

    told: bytes
    upto: int
    more: bool


def entry_of(event: Event) -> Entry:
    name = _NAMES.get(event.type, event.type.encode())
    told = b"id: %d\n%s" % (event.no, message(name, event.data))
    return Entry(event.no, event.type, event.device_id, told)


def message(name: bytes, data: bytes) -> bytes:
    """`data` is compact JSON, which holds no line breaks of its own."""
    return b"event: %s\ndata: %s\n\n" % (name, data)


class Tape:
    """The end of one account's log. The table stays the truth: who is further behind reads that."""

    def __init__(self, log: EventLog, account_id: str, start: int) -> None:
        """`start` is a number that the account's log has reached; what follows it is read when asked for."""
        self._log = log
        self._account_id = account_id
        self._entries: list[Entry] = []
        self._bytes = 0
        self._since = self._upto = start
        self._changes = 1
        self._seen = 0
        self._reading = asyncio.Lock()

    def changed(self) -> None:
        """The table may hold more now."""
        self._changes += 1

    async def after(self, no: int, wanted: Wanted) -> Part | None:
        """What follows number `no`; None when the tape no longer, or not yet, reaches back to it.

        Everything that was committed when this was called is in the part, or `more` is true.
        """
        await self._catch_up()
        if not self._since <= no <= self._upto:
            return None
        told: list[bytes] = []
        size, upto = 0, self._upto
        for entry in self._entries[bisect.bisect_right(self._entries, no, key=_NUMBER) :]:
            if wanted.takes(entry):
                told.append(entry.told)
                size += len(entry.told)
                if size >= PART_BYTES:
                    upto = entry.no
                    break
        return Part(b"".join(told), upto, more=upto < self._upto or self._seen < self._changes)

    async def _catch_up(self) -> None:
        """Read what is new, unless somebody has done so since it changed."""
        wanted = self._changes
        if self._seen >= wanted:
            return
        async with self._reading:
            if self._seen < wanted:
                # Taken before reading: a commit that this reading misses is told by a change after it.
                seen = self._changes
                page = await self._log.read(self._account_id, self._upto, READ_AT_ONCE)
                if page.floor > self._upto:
                    self._begin_again(page.floor)
                else:
                    self._take(page)
                    self._seen = seen if len(page.events) < READ_AT_ONCE else seen - 1

    def _begin_again(self, start: int) -> None:
        """Nobody has asked for so long that what follows is no longer kept: the table tells followers so."""
        self._entries.clear()
        self._bytes = 0
        self._since = self._upto = start

    def _take(self, page: Page) -> None:
        new = [entry_of(event) for event in page.events]
        self._entries += new
        self._bytes += sum(len(entry.told) for entry in new)
        self._upto = page.upto
        gone = 0
        while self._bytes > KEPT_BYTES or len(self._entries) - gone > KEPT_EVENTS:
            self._bytes -= len(self._entries[gone].told)
            self._since = self._entries[gone].no
            gone += 1
        del self._entries[:gone]
