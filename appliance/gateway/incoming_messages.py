"""Incoming messages: stored once, told at once, or as soon as their file is here."""

from collections.abc import Callable
from typing import Any

import msgspec

from appliance.engine.base import Applied, IncomingMedia, MessageIn
from appliance.gateway import canonical_json, telling
from appliance.gateway.addressing import Addressing
from appliance.gateway.events import EventLog
from appliance.model.clock import Clock
from appliance.model.device import Device
from appliance.model.ids import new_id
from appliance.model.jid import parse_jid
from appliance.model.media import MediaFile, MediaState
from appliance.model.message import Message
from appliance.model.tally import Tally, yes_or_no
from appliance.store import chats, media, messages
from appliance.store.database import Transaction

AfterCommit = Callable[[], None]
UNDECRYPTABLE = "undecryptable"


class IncomingMessages:
    """Turns what the engine tells into rows and events. `stored` counts new messages, by whether they are the
    sandbox's."""

    def __init__(self, events: EventLog, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self.on_file: Callable[[Message], None] = lambda _message: None
        self.stored = Tally(("true",), ("false",))

    def store(self, tx: Transaction, device: Device, arrived: MessageIn) -> tuple[Applied, list[AfterCommit]]:
        """Store the message and tell it; one with a file is told when the file is here. A repeat changes
        nothing."""
        message = self._row(tx, device, arrived)
        known = tx.one(messages.repeat_of(message))
        if known is None:
            file = self._file(device, arrived.media)
            if file is not None:
                media.insert(tx, file)
                message = msgspec.structs.replace(message, media_id=file.id, told=False)
            messages.insert(tx, message)
            if message.participant is None and not message.from_me and arrived.push_name:
                chats.learn_name(tx, device.id, message.chat, arrived.push_name)
            applied, after = self._tell(tx, message)
            return applied, [*after, lambda: self.stored.add(yes_or_no(message.sandbox))]
        if known.type == UNDECRYPTABLE and message.type != UNDECRYPTABLE:
            return self._decrypted(tx, device, known, message, arrived)
        return Applied(known.id), []

    def _decrypted(
        self, tx: Transaction, device: Device, known: Message, message: Message, arrived: MessageIn
    ) -> tuple[Applied, list[AfterCommit]]:
        """A message told as undecryptable can be read now: the same row, told once more."""
        file = self._file(device, arrived.media)
        if file is not None:
            media.insert(tx, file)
        whole = msgspec.structs.replace(
            message,
            no=known.no,
            id=known.id,
            details=_marked_update(message.details),
            media_id=file and file.id,
            told=file is None,
            created_at=known.created_at,
        )
        messages.replace_content(tx, whole)
        return self._tell(tx, whole)

    def _tell(self, tx: Transaction, message: Message) -> tuple[Applied, list[AfterCommit]]:
        if not message.told:
            return Applied(message.id), [lambda: self.on_file(message)]
        event_no = self._events.append(tx, telling.message_received(message, None))

        def after() -> None:
            self._events.was_told(message.id, event_no)
            self._events.wake(message.account_id)

        return Applied(message.id, event_no), [after]

    def _row(self, tx: Transaction, device: Device, arrived: MessageIn) -> Message:
        addresses = Addressing(tx, device.id)
        chat = addresses.canonical(arrived.chat, arrived.chat_alt)
        sender = addresses.canonical(arrived.sender, arrived.sender_alt)
        in_group = parse_jid(chat).chat_kind != "direct"
        details = _details(tx, device, addresses, arrived, chat, sender)
        return Message(
            id=new_id(),
            account_id=device.account_id,
            device_id=device.id,
            sandbox=device.sandbox,
            wa_id=arrived.wa_id,
            chat=chat,
            participant=sender if in_group else None,
            from_me=arrived.from_me,
            kind=arrived.kind,
            type=arrived.type,
            text=arrived.text,
            content=canonical_json.encode(arrived.content),
            details=canonical_json.encode(details),
            filename=arrived.media.filename if arrived.media is not None else None,
            timestamp=arrived.timestamp,
            created_at=self._clock.now_ms(),
        )

    def _file(self, device: Device, arrived: IncomingMedia | None) -> MediaFile | None:
        if arrived is None:
            return None
        return MediaFile(
            id=new_id(),
            account_id=device.account_id,
            device_id=device.id,
            kind=arrived.kind,
            mimetype=arrived.mimetype,
            size=arrived.size,
            filename=arrived.filename,
            seconds=arrived.seconds,
            source=arrived.source,
            state=MediaState.PENDING,
            created_at=self._clock.now_ms(),
        )


def _marked_update(details: bytes) -> bytes:
    """The mark is kept with the row: the message may be told much later, when its file is here."""
    known: dict[str, Any] = msgspec.json.decode(details)
    return canonical_json.encode(known | {"update": True})


def _details(
    tx: Transaction, device: Device, addresses: Addressing, arrived: MessageIn, chat: str, sender: str
) -> dict[str, Any]:
    """What webhooks tell beside the columns."""
    details: dict[str, Any] = {
        "sender": addresses.person(sender, arrived.push_name),
        "chat": addresses.chat(chat),
    }
    if arrived.reply_to is not None:
        answered = tx.one(messages.on_device(device.id, arrived.reply_to.message_id))
        author = arrived.reply_to.sender
        details["replyTo"] = {
            "id": answered.id if answered else None,
            "messageId": arrived.reply_to.message_id,
            "sender": addresses.canonical(author) if author else None,
            "kind": arrived.reply_to.kind or (answered.kind if answered else None),
            "text": arrived.reply_to.text
            if arrived.reply_to.text is not None
            else answered and answered.text,
        }
    if arrived.mentions:
        details["mentions"] = [addresses.canonical(jid) for jid in arrived.mentions]
    return details | arrived.details
