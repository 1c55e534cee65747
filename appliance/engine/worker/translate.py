"""The whole inbound map: every happening of the library, and what the gateway is told of it.

Event codes and time units: neonize's events.py and goneonize (message times in ms, receipt times in seconds).
"""

import enum
import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from appliance.engine.base import (
    ChatNamed,
    EngineError,
    EngineEvent,
    Linked,
    MessageIn,
    QrShown,
    ReceiptIn,
    StateChanged,
)
from appliance.engine.worker import addresses, reading
from appliance.engine.worker.calls import Calls, Me
from appliance.engine.worker.content import as_json, name_of
from appliance.engine.worker.protos import NEONIZE
from appliance.engine.worker.unwrap import Opened, opened
from appliance.model.device import ENDED, DeviceStatus
from appliance.model.message import MessageStatus

_FIRST_QR_S = 60
_OTHER_QR_S = 20
_LINKING_S = 160
"""WhatsApp closes a connection that shows QR codes after that time; a link code lives no longer."""
_GCM_NONCE_BYTES = 12
_REMEMBERED = 1000
_UNENCODABLE_REFUSAL = b"neonize.ConnectFailure.Reason"
"""The library's event pump ends when it cannot encode an event, as with a refusal of an unknown number."""


class Code(enum.IntEnum):
    """The library's event codes that are asked for; the negative ones are ours, for its other callbacks."""

    OVER = -6
    UNLINKED = -5
    GREETED = -4
    RETURNED = -3
    STATUS = -2
    QR = -1
    DEVICE = 0
    CONNECTED = 3
    LOGGED_OUT = 6
    REPLACED = 7
    BANNED = 8
    REFUSED = 9
    OUTDATED = 10
    DISCONNECTED = 12
    MESSAGE = 17
    RECEIPT = 18
    JOINED_GROUP = 21
    GROUP_CHANGED = 22
    ANNOUNCED = 26
    CAUGHT_UP = 27
    UNDECRYPTABLE = 44


SUBSCRIBED = bytes(code for code in Code if code > 0)

_REASONS: dict[int, tuple[str, int]] = {
    1: ("refused", 400),
    2: ("device_removed", 401),
    3: ("temporarily_banned", 402),
    4: ("primary_device_gone", 403),
    5: ("logged_out", 406),
    6: ("client_outdated", 405),
    7: ("bad_user_agent", 409),
    8: ("server_error", 500),
    9: ("experimental", 415),
    10: ("service_unavailable", 503),
}
"""neonize's ConnectFailureReason → our word and WhatsApp's number (whatsmeow types/events)."""

_BANS = {
    1: "sent_to_too_many_people",
    2: "blocked_by_users",
    3: "created_too_many_groups",
    4: "sent_too_many_same_message",
    5: "broadcast_list",
}
_RECEIPTS = {
    1: MessageStatus.DELIVERED,
    4: MessageStatus.READ,
    6: MessageStatus.PLAYED,
    9: MessageStatus.DELIVERED,  # `inactive`: it did reach a device, one that is not being looked at
}


class Translator:
    """Turns happenings into events, in order. `over` is set when the session has come to its end,
    `linking_until_ms` when link codes stop working."""

    def __init__(self, calls: Calls, linked: bool) -> None:
        self._calls = calls
        self._linked = linked
        self._connected = False
        self._told_name: str | None = None
        self._qr_seq = 0
        self._qr_shown_at = 0.0
        self.linking_until_ms = 0
        self._undecrypted: OrderedDict[str, None] = OrderedDict()
        self._polls: OrderedDict[str, dict[bytes, str]] = OrderedDict()
        self.over = False

    def events(self, code: int, data: bytes) -> Iterator[EngineEvent]:
        """What is to be told of one happening."""
        for event in self._events(code, data):
            if isinstance(event, StateChanged):
                self._connected = event.status is DeviceStatus.CONNECTED
                self.over = self.over or event.status in ENDED
            yield event

    def _events(self, code: int, data: bytes) -> Iterator[EngineEvent]:  # noqa: C901 (the map, flat)
        match code:
            case Code.QR:
                yield from self._qr(data.decode())
            case Code.STATUS:
                yield from self._link_status(data.decode())
            case Code.RETURNED:
                yield self._end("refused" if _UNENCODABLE_REFUSAL in data else "connection_failed")
            case Code.DEVICE:
                yield from self._known()
            case Code.CONNECTED:
                yield self._up(self._calls.me())
            case Code.GREETED:
                yield from self._greeted()
            case Code.DISCONNECTED:
                yield StateChanged(DeviceStatus.RECONNECTING, "connection_lost")
            case Code.LOGGED_OUT:
                word, number = _REASONS.get(NEONIZE.LoggedOut.FromString(data).Reason, ("logged_out", 401))
                yield StateChanged(DeviceStatus.LOGGED_OUT, word, number)
            case Code.UNLINKED:
                yield StateChanged(DeviceStatus.LOGGED_OUT, "logout")
            case Code.BANNED:
                yield _banned(NEONIZE.TemporaryBan.FromString(data))
            case Code.OUTDATED:
                yield StateChanged(DeviceStatus.OUTDATED, *_REASONS[6])
            case Code.REPLACED:
                yield self._end("replaced")
            case Code.REFUSED:
                yield self._refused(NEONIZE.ConnectFailure.FromString(data))
            case Code.MESSAGE:
                yield from self._message(data)
            case Code.UNDECRYPTABLE:
                yield from self._undecryptable(NEONIZE.UndecryptableMessage.FromString(data))
            case Code.RECEIPT:
                yield from self._receipt(NEONIZE.Receipt.FromString(data))
            case Code.GROUP_CHANGED:
                change = NEONIZE.GroupInfoEvent.FromString(data)
                yield from _named(change.JID, change.Name.Name)
            case Code.JOINED_GROUP:
                group = NEONIZE.JoinedGroup.FromString(data).GroupInfo
                yield from _named(group.JID, group.GroupName.Name)

    def _qr(self, text: str) -> Iterator[EngineEvent]:
        if self._linked:
            self.over = True
            yield StateChanged(DeviceStatus.LOGGED_OUT, "session_lost")
            return
        self._qr_seq += 1
        lives_s = _FIRST_QR_S if self._qr_seq == 1 else _OTHER_QR_S
        self._qr_shown_at = time.monotonic()
        if self._qr_seq == 1:
            self.linking_until_ms = _now_ms() + _LINKING_S * 1000
            yield StateChanged(DeviceStatus.QR)
        yield QrShown(text, self._qr_seq, _now_ms() + lives_s * 1000)

    def _link_status(self, word: str) -> Iterator[EngineEvent]:
        """whatsmeow/qrchan.go: after anything but success the library neither connects nor returns.

        A lost connection is called `timeout` too, but a code lives 20 s at least.
        """
        if word == "err-client-outdated":
            yield StateChanged(DeviceStatus.OUTDATED, *_REASONS[6])
        elif word == "timeout" and time.monotonic() - self._qr_shown_at >= _OTHER_QR_S - 2:
            self.over = True
            yield StateChanged(DeviceStatus.DISCONNECTED, "qr_timeout")
        elif word == "timeout":
            yield self._end("connection_lost")
        elif word not in {"success", "err-scanned-without-multidevice"}:
            yield self._end("link_failed")

    def _known(self) -> Iterator[EngineEvent]:
        self._calls.tell_delivered()
        me = self._calls.me()
        if not self._linked and me.jid is not None:
            self._linked = True
            yield Linked(me.jid, me.lid, me.phone, me.push_name)

    def _up(self, me: Me) -> StateChanged:
        self._told_name = me.push_name
        return StateChanged(
            DeviceStatus.CONNECTED, jid=me.jid, lid=me.lid, phone=me.phone, push_name=me.push_name
        )

    def _greeted(self) -> Iterator[EngineEvent]:
        """The push name comes through app state, some time after the first connection."""
        me = self._calls.me()
        if self._connected and me.push_name != self._told_name:
            yield self._up(me)

    def _end(self, reason: str, number: int | None = None) -> StateChanged:
        self.over = True
        status = DeviceStatus.RECONNECTING if self._linked else DeviceStatus.CONNECTING
        return StateChanged(status, reason, number)

    def _refused(self, failure: Any) -> StateChanged:
        if failure.HasField("Reason"):
            return self._end(*_REASONS.get(failure.Reason, ("refused", 400)))
        numbers = (attr for attr in failure.Raw.Attrs if attr.name == "reason")
        found = next(numbers, None)
        return self._end("refused", int(found.text) if found and found.text.isdigit() else None)

    def _message(self, data: bytes) -> Iterator[EngineEvent]:
        event = NEONIZE.Message.FromString(data)
        found = opened(event.Message)
        if found is None or event.Info.Category == "peer":
            return
        kind = found.kind
        if found.type == "protocolMessage":
            known = reading.protocol_kind(found)
            if known is None:
                return
            kind = known
        details = reading.details_of(found)
        if event.IsViewOnce:
            details["viewOnce"] = True
        if event.IsEphemeral:
            details["ephemeral"] = True
        if kind == "poll":
            self._remember_poll(event.Info.ID, found)
        elif kind == "poll_vote":
            details["vote"]["options"] = self._vote(found, data)
        context = reading.context_of(found)
        told_before = event.Info.ID in self._undecrypted
        self._undecrypted.pop(event.Info.ID, None)
        yield self._told(
            event.Info,
            kind=kind,
            type=name_of(found.type),
            content=_content(found),
            text=reading.text_of(found),
            reply_to=reading.reply_to(context),
            mentions=reading.mentions(context),
            media=reading.media_of(found),
            details=details,
            update=told_before or event.RetryCount > 0,
        )

    def _undecryptable(self, event: Any) -> Iterator[EngineEvent]:
        if event.DecryptFailMode == NEONIZE.UndecryptableMessage.DECRYPT_FAIL_HIDE:
            return
        _remember(self._undecrypted, event.Info.ID, None)
        yield self._told(event.Info, kind="undecryptable", type="undecryptable", content={})

    def _told(self, info: Any, **what: Any) -> MessageIn:
        source = info.MessageSource
        chat, chat_alt, sender, sender_alt = self._places(source)
        return MessageIn(
            chat=chat,
            chat_alt=chat_alt,
            sender=sender,
            sender_alt=sender_alt,
            wa_id=info.ID,
            timestamp=info.Timestamp // 1000,
            from_me=source.IsFromMe,
            push_name=info.Pushname or None,
            **what,
        )

    def _places(self, source: Any) -> tuple[str, str | None, str, str | None]:
        chat = addresses.text_of(source.Chat) or ""
        sender = addresses.text_of(source.Sender) or chat
        sender_alt = addresses.text_of(source.SenderAlt) or self._phone_of(sender)
        if chat == sender:
            chat_alt = sender_alt
        else:
            direct = not source.IsGroup
            chat_alt = (addresses.text_of(source.RecipientAlt) if direct else None) or self._phone_of(chat)
        return chat, chat_alt, sender, sender_alt

    def _receipt(self, receipt: Any) -> Iterator[EngineEvent]:
        source = receipt.MessageSource
        status = _RECEIPTS.get(receipt.Type) if receipt.HasField("Type") else None
        if status is None or source.IsFromMe:
            return
        chat, chat_alt, sender, sender_alt = self._places(source)
        yield ReceiptIn(
            chat, sender, list(receipt.MessageIDs), status, receipt.Timestamp, chat_alt, sender_alt
        )

    def _phone_of(self, address: str) -> str | None:
        return self._calls.phone_jid(address) if addresses.is_lid(address) else None

    def _remember_poll(self, wa_id: str, found: Opened) -> None:
        names = [option.optionName for option in found.part.options]
        _remember(self._polls, wa_id, {hashlib.sha256(name.encode()).digest(): name for name in names})

    def _vote(self, found: Opened, event: bytes) -> list[str]:
        if len(found.part.vote.encIV) != _GCM_NONCE_BYTES:
            return []  # the library would panic, and a stranger could end the worker with it
        known = self._polls.get(found.part.pollCreationMessageKey.ID, {})
        try:
            chosen = self._calls.poll_vote(event)
        except EngineError:
            return []
        return [known.get(option) or reading.hash_text(option) for option in chosen]


def _content(found: Opened) -> dict[str, Any]:
    content = as_json(found.message)
    content.pop("senderKeyDistributionMessage", None)
    return content


def _banned(ban: Any) -> StateChanged:
    until = _now_ms() + ban.Expire * 1000 if ban.Expire else None
    return StateChanged(DeviceStatus.BANNED, _BANS.get(ban.Code, "temporarily_banned"), 402, until)


def _named(jid: Any, name: str) -> Iterator[EngineEvent]:
    chat = addresses.text_of(jid)
    if chat and name:
        yield ChatNamed(chat, name)


def _remember(memory: OrderedDict[str, Any], key: str, value: Any) -> None:
    memory[key] = value
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
