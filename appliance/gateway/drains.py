"""Drains: one per device with messages waiting; each hands one message after the other to WhatsApp and
settles it.

A device has one place to send from, `_running`. Its drain takes it, or a message that is accepted while
nothing else is there: that one is claimed by the transaction that accepts it, and its drain begins with it.
"""

import asyncio
import contextlib
import functools
import logging
from collections import Counter
from collections.abc import Callable

import msgspec

from appliance.engine.base import EngineError, OutgoingMessage, SendEnded, Sent
from appliance.gateway import refusals, telling
from appliance.gateway.devices import DeviceManager
from appliance.gateway.events import EventLog
from appliance.gateway.limits import RateLimits, Token
from appliance.gateway.receipts import Receipts
from appliance.model.clock import Clock
from appliance.model.device import Device, DeviceStatus
from appliance.model.errors import StorageFull
from appliance.model.message import WAITING, Message, MessageStatus
from appliance.model.tally import Spread, Tally, yes_or_no
from appliance.store import messages
from appliance.store.database import Database, StoreError, Transaction

log = logging.getLogger(__name__)

EXPIRY_EVERY_S = 1.0
EXPIRY_GROUP = 100
NOT_CONNECTED_PAUSE_S = 0.5
SEND_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)


class Drains:
    """Sends what waits. Owns the counts of waiting messages, the tokens they took, and the futures of
    those who wait.

    Counted are messages `accepted` (by whether they are the sandbox's) and `settled` (also by status and
    error code), and how long WhatsApp took to take one.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        devices: DeviceManager,
        events: EventLog,
        receipts: Receipts,
        limits: RateLimits,
        on_done: Callable[[Message], None],
    ) -> None:
        self._db = db
        self._clock = clock
        self._devices = devices
        self._events = events
        self._receipts = receipts
        self._limits = limits
        self._on_done = on_done
        self._kicks: asyncio.Queue[str] = asyncio.Queue()
        self._group: asyncio.TaskGroup | None = None
        self._running: set[str] = set()
        self._in_hand: dict[str, str] = {}
        self._again: set[str] = set()
        self._waiting: Counter[str] = Counter()
        self._tokens: dict[str, Token] = {}
        self._ends: dict[str, asyncio.Future[Message]] = {}
        self.accepted = Tally(("true",), ("false",))
        self.settled = Tally(
            ("true", "sent", ""), ("false", "sent", ""), ("false", "unconfirmed", "interrupted")
        )
        self.answer_s = Spread(SEND_BOUNDS_S)

    async def recover(self) -> None:
        """After a start: interrupted sends become `unconfirmed`, and what waits is counted."""
        interrupted = await self._db.reader.all(messages.interrupted())
        if interrupted:
            lost = [
                _unconfirmed(m, "The gateway was interrupted while WhatsApp was taking the message.")
                for m in interrupted
            ]
            await self._db.transaction(functools.partial(self._write_all, lost))
            log.warning("sends_interrupted", extra={"messages": len(lost)})
        self._waiting = Counter(
            {w.device_id: w.messages for w in await self._db.reader.all(messages.waiting())}
        )

    async def run(self) -> None:
        """Start a drain for every device that is kicked; fail what waits too long. For ever."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._expire_for_ever(), name="expiry")
            while True:
                device_id = await self._kicks.get()
                if device_id in self._running:
                    self._again.add(device_id)
                    continue
                self._running.add(device_id)
                self._begin(device_id, None)

    def announce(self, message: Message, token: Token | None, *, at_once: bool) -> bool:
        """A message is about to be accepted; to be followed by `accepted_one`, `withdraw` or `look_for`.

        True when its device's place was taken for it: `at_once` asks for that, and nothing else may be there.
        """
        device = self._devices.known(message.device_id)
        is_free = (
            at_once
            and self._group is not None
            and device is not None
            and device.status is DeviceStatus.CONNECTED
            and self._devices.session(device.id) is not None
            and not self._waiting[device.id]
            and device.id not in self._running
        )
        if is_free:
            self._running.add(message.device_id)
        self._waiting[message.device_id] += 1
        if token is not None:
            self._tokens[message.id] = token
        return is_free

    def accepted_one(self, message: Message, *, has_place: bool) -> None:
        """The announced message is on disk; if it is claimed already, it has its device's place."""
        self.accepted.add(yes_or_no(message.sandbox))
        if has_place and message.status is MessageStatus.SENDING:
            self._begin(message.device_id, message)
            return
        if has_place:
            self._running.discard(message.device_id)
        self.kick(message.device_id)

    def withdraw(self, message: Message, *, has_place: bool) -> None:
        """The announced message is not on disk: its token goes back."""
        self._count_off(message.device_id)
        self._limits.give_back(self._tokens.pop(message.id, None))
        if has_place:
            self._running.discard(message.device_id)
            self.kick(message.device_id)

    def look_for(self, message: Message, *, has_place: bool) -> None:
        """Who announced the message gave up before knowing whether it is on disk."""
        if self._group is not None:
            self._group.create_task(self._look_for(message, has_place), name=f"look:{message.device_id}")

    def kick(self, device_id: str) -> None:
        """There may be something to send on that device."""
        self._kicks.put_nowait(device_id)

    def waiting(self, device_id: str) -> int:
        return self._waiting[device_id]

    def end_of(self, message_id: str) -> asyncio.Future[Message]:
        """Resolves with the message once it no longer waits."""
        return self._ends.setdefault(message_id, asyncio.get_running_loop().create_future())

    def end(self, tx: Transaction, ended: SendEnded) -> list[Callable[[], None]]:
        """A worker tells, perhaps after a crash of ours, how a send ended."""
        message = tx.one(messages.by_our_id(ended.ref))
        if message is None or message.status is not MessageStatus.SENDING:
            return []
        error = EngineError(ended.code, ended.text, unknown_outcome=ended.unknown_outcome, until=ended.until)
        settled = _sent(message, ended.sent) if ended.sent else _after_error(message, error)
        self._write(tx, settled)
        return [functools.partial(self._ended, settled)]

    def fail_all(self, tx: Transaction, device: Device) -> list[Callable[[], None]]:
        """The device was unlinked or moved away: what waits on it fails, within the transaction that says
        so."""
        text = "The device was unlinked before the message was sent."
        code = "device_logged_out"
        if device.moved_as is not None:
            code, text = "device_moved", "The device was moved away before the message was sent."
        failed = [_failed(m, code, text) for m in tx.all(messages.queued(device.id))]
        self._write_all(failed, tx)
        return [functools.partial(self._done, message) for message in failed]

    def forget(self, device: Device) -> None:
        """The device was deleted with all its messages."""
        del self._waiting[device.id]

    def _begin(self, device_id: str, claimed: Message | None) -> None:
        assert self._group is not None, "nothing is begun before `run`"
        self._group.create_task(self._drain(device_id, claimed), name=f"drain:{device_id}")

    async def _look_for(self, message: Message, has_place: bool) -> None:
        # The writer takes changes in order: this comes after the one that may have accepted the message.
        stored = await self._turn(lambda tx: tx.one(messages.by_our_id(message.id)), patient=True)
        if stored is None:
            self.withdraw(message, has_place=has_place)
        else:
            self.accepted_one(stored, has_place=has_place)

    async def _drain(self, device_id: str, claimed: Message | None) -> None:
        try:
            await self._send_all(device_id, claimed)
        except Exception as error:
            # One device's trouble must not stop the others: it is said, and tried again at the next kick.
            log.exception("drain_failed", extra={"device": device_id, "error": type(error).__name__})
            asyncio.get_running_loop().call_later(NOT_CONNECTED_PAUSE_S, self.kick, device_id)
        finally:
            self._running.discard(device_id)
            self._in_hand.pop(device_id, None)
            if device_id in self._again:
                self._again.discard(device_id)
                self.kick(device_id)

    async def _send_all(self, device_id: str, claimed: Message | None) -> None:
        settled = await self._send(claimed) if claimed is not None else None
        while True:
            device = self._devices.known(device_id)
            connected = device is not None and device.status is DeviceStatus.CONNECTED
            postponed = settled is not None and settled.status is MessageStatus.QUEUED
            turn = functools.partial(self._settle_and_claim, device_id, settled, connected and not postponed)
            message = await self._turn(turn, patient=settled is not None)
            if settled is not None:
                self._done(settled)
            if message is None:
                if connected and postponed:
                    asyncio.get_running_loop().call_later(NOT_CONNECTED_PAUSE_S, self.kick, device_id)
                return
            settled = await self._send(message)

    async def _turn(self, work: Callable[[Transaction], Message | None], *, patient: bool) -> Message | None:
        """Run `work` in a transaction; if `patient`, a refusing disk is waited for."""
        while True:
            try:
                return await self._db.transaction(work)
            except (StoreError, StorageFull):
                if not patient:
                    raise
                await asyncio.sleep(NOT_CONNECTED_PAUSE_S)

    def _settle_and_claim(
        self, device_id: str, settled: Message | None, claims: bool, tx: Transaction
    ) -> Message | None:
        """Settle the message just tried and claim the next one, in one transaction."""
        if settled is not None:
            self._write(tx, settled)
        message = tx.one(messages.next_queued(device_id)) if claims else None
        if message is not None:
            message.status = MessageStatus.SENDING
            messages.save_state(tx, message)
        return message

    async def _send(self, message: Message) -> Message:
        self._in_hand[message.device_id] = message.id
        session = self._devices.session(message.device_id)
        if session is None or message.outgoing is None:
            return _queued(message)
        outgoing = msgspec.json.decode(message.outgoing, type=OutgoingMessage)
        began = self._clock.monotonic()
        try:
            sent = await session.send(outgoing)
        except EngineError as error:
            return _after_error(message, error)
        except Exception as error:
            log.exception("send_broke", extra={"device": message.device_id, "error": type(error).__name__})
            return _unconfirmed(message, "The gateway failed while WhatsApp was taking the message.")
        self.answer_s.note(self._clock.monotonic() - began)
        return _sent(message, sent)

    def _write_all(self, settled: list[Message], tx: Transaction) -> None:
        for message in settled:
            self._write(tx, message)

    def _write(self, tx: Transaction, message: Message) -> None:
        """Write the settled state, tell it, and apply receipts that came before it.

        Only what still waits is settled: a send's end arrives twice, as answer and as event, and the first
        one counts.
        """
        stored = tx.one(messages.by_no(message.no))
        if stored is None or stored.status not in WAITING:
            return
        if message.wa_id is not None:
            messages.yield_wa_id(tx, message)
        messages.save_state(tx, message)
        if message.status is MessageStatus.QUEUED:
            return
        self._events.append(tx, telling.message_status(message, at_s=_told_at(message, self._clock)))
        if message.wa_id is not None:
            moved = message
            for receipt in messages.take_receipts(tx, message.device_id, message.wa_id):
                moved = self._receipts.advance(tx, moved, receipt)

    def _ended(self, message: Message) -> None:
        """The drain that has it in hand, if there is one, says the same in a moment and does the rest."""
        if self._in_hand.get(message.device_id) != message.id:
            self._done(message)

    def _done(self, message: Message) -> None:
        """After COMMIT: whoever waits is told, the token goes back if the refusal was the caller's."""
        if message.status is MessageStatus.QUEUED:
            return
        self._count_off(message.device_id)
        self.settled.add(yes_or_no(message.sandbox), str(message.status), message.error_code or "")
        token = self._tokens.pop(message.id, None)
        if message.error_code is not None and refusals.is_callers(message.error_code):
            self._limits.give_back(token)
        future = self._ends.pop(message.id, None)
        if future is not None and not future.done():
            future.set_result(message)
        self._on_done(message)
        self._events.wake(message.account_id)

    def _count_off(self, device_id: str) -> None:
        self._waiting[device_id] = max(0, self._waiting[device_id] - 1)

    async def _expire_for_ever(self) -> None:
        while True:
            await asyncio.sleep(EXPIRY_EVERY_S)
            with contextlib.suppress(StoreError, StorageFull):
                while len(await self._expire()) == EXPIRY_GROUP:
                    pass

    async def _expire(self) -> list[Message]:
        if not any(self._waiting.values()):
            return []

        def work(tx: Transaction) -> list[Message]:
            late = tx.all(messages.expired(self._clock.now_ms(), EXPIRY_GROUP))
            failed = [_failed(m, refusals.EXPIRED, "The message could not be sent in time.") for m in late]
            self._write_all(failed, tx)
            return failed

        failed = await self._db.transaction(work)
        for message in failed:
            self._done(message)
        return failed


def _told_at(message: Message, clock: Clock) -> int:
    return message.timestamp if message.timestamp is not None else clock.now_ms() // 1000


def _sent(message: Message, sent: Sent) -> Message:
    return msgspec.structs.replace(
        message, status=MessageStatus.SENT, wa_id=sent.wa_id, timestamp=sent.timestamp
    )


def _queued(message: Message) -> Message:
    return msgspec.structs.replace(message, status=MessageStatus.QUEUED)


def _unconfirmed(message: Message, text: str) -> Message:
    return msgspec.structs.replace(
        message, status=MessageStatus.UNCONFIRMED, error_code="interrupted", error_message=text
    )


def _failed(message: Message, code: str, text: str, until: int | None = None) -> Message:
    details = message.details if until is None else msgspec.json.encode({"until": until})
    return msgspec.structs.replace(
        message,
        status=MessageStatus.FAILED,
        error_code=code,
        error_message=text,
        details=details,
    )


def _after_error(message: Message, error: EngineError) -> Message:
    if error.retryable:
        return _queued(message)
    if error.unknown_outcome:
        return _unconfirmed(message, error.text or "WhatsApp did not say whether it took the message.")
    return _failed(message, error.code, error.text, error.until)
