"""What is told: the flat `data` object of each event, with the names and order of the public contract."""

from typing import Any

import msgspec

from appliance.gateway import canonical_json
from appliance.model.device import Device
from appliance.model.event import EventType, NewEvent
from appliance.model.jid import parse_jid
from appliance.model.message import Message


def device_status(device: Device, now_ms: int) -> NewEvent:
    """The device's present state as `device.status`."""
    data: dict[str, Any] = {"deviceId": device.id, "status": str(device.status)}
    present = {
        "reason": device.reason,
        "reasonCode": device.reason_code,
        "until": device.until,
        "phone": device.phone,
    }
    data |= {name: value for name, value in present.items() if value is not None}
    data["timestamp"] = now_ms // 1000
    if device.sandbox:
        data["sandbox"] = True
    return NewEvent(device.account_id, device.id, EventType.DEVICE_STATUS, data)


def message_status(message: Message, participant: str | None = None, at_s: int | None = None) -> NewEvent:
    """The message's present status as `message.status`; `at_s` is WhatsApp's time of the change in
    seconds."""
    data: dict[str, Any] = {
        "deviceId": message.device_id,
        "remoteJid": message.chat,
        "messageId": message.wa_id,
        "id": message.id,
        "fromMe": message.from_me,
    }
    if participant:
        data["participant"] = participant
    data["status"] = str(message.status)
    data["timestamp"] = at_s if at_s is not None else message.timestamp
    if message.error_code:
        data["error"] = {"code": message.error_code, "message": message.error_message}
    if message.sandbox:
        data["sandbox"] = True
    return _of_message(message, EventType.MESSAGE_STATUS, data)


def message_received(message: Message, media: dict[str, Any] | None) -> NewEvent:
    """The message as `message.received`: the document's keys first, then ours; `media` as Media describes
    it."""
    details: dict[str, Any] = msgspec.json.decode(message.details)
    data: dict[str, Any] = {
        "deviceId": message.device_id,
        "remoteJid": message.chat,
        "fromMe": message.from_me,
        "type": message.type,
        "content": canonical_json.parse(message.content),
        "timestamp": message.timestamp,
        "id": message.id,
        "messageId": message.wa_id,
    }
    if message.participant:
        data["participant"] = message.participant
    data |= {"kind": message.kind, "text": message.text, **details}
    if media is not None:
        data["media"] = media
    if message.sandbox:
        data["sandbox"] = True
    return _of_message(message, EventType.MESSAGE_RECEIVED, data)


def _of_message(message: Message, kind: EventType, data: dict[str, Any]) -> NewEvent:
    """The event with what endpoint filters look at."""
    return NewEvent(
        message.account_id,
        message.device_id,
        kind,
        data,
        chat_kind=parse_jid(message.chat).chat_kind,
        kind=message.kind,
        from_me=message.from_me,
        chat=message.chat,
    )
