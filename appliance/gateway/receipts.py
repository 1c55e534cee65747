"""Receipts: what became of the messages we sent; a status only ever moves forward, and each step is told
once."""

import functools
from collections.abc import Callable

import msgspec

from appliance.engine.base import ReceiptIn
from appliance.gateway import telling
from appliance.gateway.addressing import Addressing
from appliance.gateway.events import EventLog
from appliance.model.clock import Clock
from appliance.model.device import Device
from appliance.model.jid import parse_jid
from appliance.model.message import Message, MessageStatus, moves_forward
from appliance.model.tally import Tally
from appliance.store import messages
from appliance.store.database import Transaction
from appliance.store.messages import WaitingReceipt

AfterCommit = Callable[[], None]


class Receipts:
    """Moves messages up their ladder. `arrived` counts receipts by what they say."""

    def __init__(self, events: EventLog, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self.arrived = Tally(("delivered",), ("read",), ("played",), ("failed",))

    def apply(self, tx: Transaction, device: Device, arrived: ReceiptIn) -> list[AfterCommit]:
        """Apply a receipt to each message it names; one for a message not yet known waits for it."""
        who = Addressing(tx, device.id).canonical(arrived.sender, arrived.sender_alt)
        receipt = WaitingReceipt(who, arrived.status, arrived.timestamp)
        for wa_id in arrived.wa_ids:
            message = tx.one(messages.ours(device.id, wa_id))
            if message is None:
                messages.keep_receipt(tx, device.id, wa_id, receipt, self._clock.now_ms())
                continue
            if arrived.status is MessageStatus.FAILED:
                message = msgspec.structs.replace(
                    message, error_code=arrived.error_code, error_message=arrived.error_message
                )
            self.advance(tx, message, receipt)
        return [functools.partial(self._applied, device, arrived)]

    def _applied(self, device: Device, arrived: ReceiptIn) -> None:
        self.arrived.add(str(arrived.status), by=len(arrived.wa_ids))
        self._events.wake(device.account_id)

    def advance(self, tx: Transaction, message: Message, receipt: WaitingReceipt) -> Message:
        """The message after the receipt, with its event when that is a step forward; else the message as
        it was."""
        in_group = parse_jid(message.chat).chat_kind != "direct"
        if in_group and receipt.status is not MessageStatus.FAILED:
            return self._advance_participant(tx, message, receipt)
        if message.status is None or not moves_forward(message.status, receipt.status):
            return message
        moved = msgspec.structs.replace(message, status=receipt.status)
        messages.save_state(tx, moved)
        self._events.append(tx, telling.message_status(moved, at_s=receipt.timestamp))
        return moved

    def _advance_participant(self, tx: Transaction, message: Message, receipt: WaitingReceipt) -> Message:
        """In a group each participant climbs alone; the message shows the furthest any of them came."""
        old = tx.one(messages.receipt_of(message.no, receipt.participant)) or MessageStatus.SENT
        if not moves_forward(old, receipt.status):
            return message
        messages.save_receipt(tx, message.no, receipt.participant, receipt.status, receipt.timestamp)
        told = msgspec.structs.replace(message, status=receipt.status)
        self._events.append(tx, telling.message_status(told, receipt.participant, receipt.timestamp))
        if message.status is None or not moves_forward(message.status, receipt.status):
            return message
        messages.save_state(tx, told)
        return told
