"""The way in: engine events are applied to the store in groups, and acknowledged after their COMMIT."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from appliance.engine.base import (
    Applied,
    ChatNamed,
    EngineEvent,
    Incoming,
    Linked,
    MessageIn,
    QrShown,
    ReceiptIn,
    SendEnded,
    StateChanged,
)
from appliance.gateway.drains import Drains
from appliance.gateway.incoming_messages import IncomingMessages
from appliance.gateway.receipts import Receipts
from appliance.gateway.states import DeviceStates
from appliance.model.clock import Clock
from appliance.model.errors import StorageFull
from appliance.store import dead_letters, devices
from appliance.store.database import Database, StoreError, Transaction

log = logging.getLogger(__name__)

QUEUE_LIMIT = 256
GROUP_LIMIT = 128
HOLD_S = 0.03
"""CPU time that a group may take of the writer: a flood on one device must not hold up everybody's sends.
Not the wall clock's time: on a busy machine groups would become small, and small groups are more work. For
the same reason it is no less: at 8 ms a flood takes half as long again, and nobody's answer comes sooner."""
BRIEF_S = 0.004
"""Instead of HOLD_S where somebody waits at a door: every group costs a commit, so that it is no less."""
DISK_PAUSE_S = 1.0
CROWD, CROWD_WITHIN_S = 32, 0.25
ENOUGH, GATHER_S = 64, 0.1
"""Where CROWD events came within so short a time others follow: until there are ENOUGH they are waited for,
but no longer than this, because every commit writes whole pages, and a card wears out by them. Where fewer
come, none waits."""

AfterCommit = Callable[[], None]


class Outcome(msgspec.Struct):
    """What applying one event gave: the ids for the acknowledgement, and what to do once it is committed."""

    applied: Applied = Applied()
    after: list[AfterCommit] = []


class Inbound:
    """Pumps events from the engines into the store, in order."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        states: DeviceStates,
        messages: IncomingMessages,
        receipts: Receipts,
        drains: Drains,
    ) -> None:
        self._db = db
        self._clock = clock
        self._states = states
        self._messages = messages
        self._receipts = receipts
        self._drains = drains
        self._queue: asyncio.Queue[Incoming] = asyncio.Queue(QUEUE_LIMIT)
        self._came: deque[float] = deque(maxlen=CROWD)
        self.dead = 0

    @property
    def waiting(self) -> int:
        """Events handed in and not yet begun."""
        return self._queue.qsize()

    async def put(self, incoming: Incoming) -> None:
        """Hand in an event; waits while the pump is behind. The event's `ack` is called after its COMMIT."""
        await self._queue.put(incoming)
        self._came.append(self._clock.monotonic())

    async def run(self) -> None:
        """Apply what comes, for ever."""
        while True:
            group = [await self._queue.get()]
            try:
                self._gather(group)
                if len(group) < ENOUGH and self._is_crowded():
                    await self._wait_for_more(group)
                await self._apply(group)
            finally:
                for _ in group:
                    self._queue.task_done()

    def _gather(self, group: list[Incoming]) -> None:
        while len(group) < GROUP_LIMIT and not self._queue.empty():
            group.append(self._queue.get_nowait())

    async def _wait_for_more(self, group: list[Incoming]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S):
                while len(group) < ENOUGH:
                    group.append(await self._queue.get())

    def _is_crowded(self) -> bool:
        return len(self._came) == CROWD and self._clock.monotonic() - self._came[0] < CROWD_WITHIN_S

    async def drained(self) -> None:
        """Returns when everything handed in so far has been applied."""
        await self._queue.join()

    async def _apply(self, group: Sequence[Incoming]) -> None:
        while group:
            try:
                outcomes = await self._commit(group)
            except Exception:  # noqa: BLE001 (one poison event must not stop the pump: each is tried alone)
                for incoming in group:
                    await self._apply_alone(incoming)
                return
            for incoming, outcome in zip(group, outcomes, strict=False):
                _finish(incoming, outcome)
            group = group[len(outcomes) :]

    async def _apply_alone(self, incoming: Incoming) -> None:
        while True:
            try:
                [outcome] = await self._commit([incoming])
            except (StorageFull, StoreError) as error:
                # The event is not at fault: it stays unacknowledged, and its worker holds back the next ones.
                log.warning("inbound_waits_for_disk", extra={"code": error.code})
                await asyncio.sleep(DISK_PAUSE_S)
            except Exception as error:  # noqa: BLE001
                await self._bury(incoming, error)
                incoming.ack(None)
                return
            else:
                _finish(incoming, outcome)
                return

    async def _commit(self, group: Sequence[Incoming]) -> list[Outcome]:
        """Apply the group, or as much of its beginning as HOLD_S and BRIEF_S allow; at least one."""

        def work(tx: Transaction) -> list[Outcome]:
            began, outcomes = time.thread_time(), []
            for incoming in group:
                outcomes.append(self._one(tx, incoming))
                if time.thread_time() - began > (BRIEF_S if self._db.is_wanted else HOLD_S):
                    break
            return outcomes

        return await self._db.transaction(work, yields=True)

    def _one(self, tx: Transaction, incoming: Incoming) -> Outcome:
        """Apply one event within the transaction; a repeat, or an event of a device that is gone, changes
        nothing."""
        device = tx.one(devices.of_any_account(incoming.device_id))
        if device is None or self._repeated(tx, incoming):
            return Outcome()
        match incoming.event:
            case QrShown() as shown:
                return Outcome(after=self._states.show_qr(tx, device, shown))
            case StateChanged() as change:
                return Outcome(after=self._states.change(tx, device, change))
            case Linked() as linked:
                return Outcome(after=self._states.link(tx, device, linked))
            case MessageIn() as message:
                applied, after = self._messages.store(tx, device, message)
                return Outcome(applied, after)
            case ReceiptIn() as receipt:
                return Outcome(after=self._receipts.apply(tx, device, receipt))
            case SendEnded() as ended:
                return Outcome(after=self._drains.end(tx, ended))
            case ChatNamed(chat, name):
                devices.name_chat(tx, device.id, chat, name)
                return Outcome()

    def _repeated(self, tx: Transaction, incoming: Incoming) -> bool:
        # A send's end changes nothing the second time anyway. Most often its drain has settled the message:
        # then nothing is written here, and the COMMIT costs no sync of the disk.
        if not incoming.seq or isinstance(incoming.event, SendEnded):
            return False
        mark = tx.one(devices.applied_up_to(incoming.device_id, incoming.incarnation)) or 0
        if incoming.seq <= mark:
            return True
        devices.mark_applied(tx, incoming.device_id, incoming.incarnation, incoming.seq)
        return False

    async def _bury(self, incoming: Incoming, error: Exception) -> None:
        self.dead += 1
        kind = type(incoming.event).__name__
        log.error(
            "event_not_applied",
            extra={
                "device": incoming.device_id,
                "kind": kind,
                "seq": incoming.seq,
                "error": type(error).__name__,
            },
        )
        letter = dead_letters.DeadLetter(
            device_id=incoming.device_id,
            kind=kind,
            error=type(error).__name__,
            event=_encoded(incoming.event),
            created_at=self._clock.now_ms(),
        )
        with contextlib.suppress(StorageFull, StoreError):
            await self._db.transaction(lambda tx: dead_letters.insert(tx, letter))


def _encoded(event: EngineEvent) -> bytes:
    try:
        return msgspec.msgpack.encode(event)
    except (TypeError, ValueError, OverflowError):
        return b""


def _finish(incoming: Incoming, outcome: Outcome) -> None:
    for act in outcome.after:
        act()
    incoming.ack(outcome.applied)
