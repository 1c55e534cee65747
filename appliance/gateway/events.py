"""The event log: a numbered truth in the store; everything told by stream or webhook is read from it
again."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

import msgspec

from appliance.gateway import body_limit
from appliance.gateway.delivery_bell import DeliveryBell
from appliance.model.clock import Clock
from appliance.model.event import Event, EventType, NewEvent
from appliance.store import events
from appliance.store.database import Reader, Transaction


class Fanout(Protocol):
    """Writes one delivery for every endpoint that wants an event, inside the event's own transaction."""

    def enqueue(self, tx: Transaction, event_no: int, new: NewEvent, now_ms: int) -> int: ...


class Page(msgspec.Struct, frozen=True):
    """Events that follow a point, as one moment saw them.

    `upto`: nothing that was asked for is left out up to this number. `floor`: the highest number that is
    gone; a point below it has missed something.
    """

    events: list[Event]
    upto: int
    floor: int


class EventLog:
    """Appends events and wakes those who follow. A wake is only a hint: followers read the table."""

    def __init__(self, reader: Reader, fanout: Fanout, clock: Clock) -> None:
        self._reader = reader
        self._fanout = fanout
        self._clock = clock
        self._last = 0
        self._wakes: dict[str, asyncio.Event] = {}
        self.on_wake: list[Callable[[str], None]] = []
        # Weak: who waited and has gone, or came too late to be told, leaves nothing behind.
        self._told: WeakValueDictionary[str, asyncio.Future[int]] = WeakValueDictionary()
        self._bells: list[DeliveryBell] = []
        self.closed = False

    async def open(self) -> None:
        """Find the number to go on from."""
        self._last = await self._reader.one(events.highest()) or 0

    def append(self, tx: Transaction, new: NewEvent) -> int:
        """Write the event and its deliveries; returns its number. Runs on the writer's thread.

        Numbers are given in commit order because there is one writer; a change that is undone leaves a hole.
        """
        self._last += 1
        no, now = self._last, self._clock.now_ms()
        envelope = {"event": str(new.type), "timestamp": now, "data": {**new.data, "eventId": no}}
        body = body_limit.fit(envelope)
        events.insert(
            tx,
            Event(
                no=no,
                account_id=new.account_id,
                device_id=new.device_id,
                type=new.type,
                body=body,
                crc=events.crc(body),
                created_at=now,
            ),
        )
        if self._fanout.enqueue(tx, no, new, now):
            for bell in self._bells:
                bell.queued()
        return no

    def wake(self, account_id: str) -> None:
        """Something of that account was committed, or a QR code changed."""
        if event := self._wakes.pop(account_id, None):
            event.set()
        for bell in self._bells:
            bell.ring()
        for told in self.on_wake:
            told(account_id)

    def close(self) -> None:
        """The gateway stops: every follower is woken and finds `closed`."""
        self.closed = True
        for account_id in list(self._wakes):
            self.wake(account_id)

    def listen(self, bell: DeliveryBell) -> None:
        """Ring `bell` for what is queued from now on: for the delivery worker, which serves all accounts."""
        self._bells.append(bell)

    def waiter(self, account_id: str) -> asyncio.Event:
        """The event that the next wake sets. Take it before reading the table, then nothing falls between."""
        return self._wakes.setdefault(account_id, asyncio.Event())

    async def wait(self, waiter: asyncio.Event, timeout_s: float) -> bool:
        """Wait for a wake; False when `timeout_s` passed without one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await waiter.wait()
        return waiter.is_set()

    async def page(
        self,
        account_id: str,
        after: int,
        limit: int,
        types: tuple[EventType, ...] = (),
        device_id: str | None = None,
    ) -> list[Event]:
        """The events that follow number `after`, oldest first."""
        return await self._reader.all(events.after(account_id, after, limit, types, device_id))

    async def read(
        self,
        account_id: str,
        after: int,
        limit: int,
        types: tuple[EventType, ...] = (),
        device_id: str | None = None,
    ) -> Page:
        """The events that follow number `after`, oldest first, and how far they reach.

        `upto` moves on past events that were not asked for, so that a narrow reader neither reads them again
        and again nor falls behind what is kept.
        """
        async with self._reader.snapshot() as moment:
            found = await moment.all(events.after(account_id, after, limit, types, device_id))
            floor = await moment.one(events.floor(account_id)) or 0
            latest = after if len(found) == limit else await moment.one(events.latest(account_id)) or 0
        return Page(found, found[-1].no if len(found) == limit else max(after, latest), floor)

    async def floor(self, account_id: str) -> int:
        """The highest number that is gone; following from a point below it would miss something."""
        return await self._reader.one(events.floor(account_id)) or 0

    def expect(self, message_id: str) -> "asyncio.Future[int]":
        """A future for the number under which that message will be told, for as long as it is held."""
        return self._told.setdefault(message_id, asyncio.get_running_loop().create_future())

    def was_told(self, message_id: str, event_no: int) -> None:
        """Answer `expect`; nobody waiting is fine."""
        future = self._told.pop(message_id, None)
        if future is not None and not future.done():
            future.set_result(event_no)
