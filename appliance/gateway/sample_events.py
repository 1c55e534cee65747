"""The event that `POST /webhooks/{id}/test` sends: shaped like a real one, and marked `test: true`."""

from typing import Any

from appliance.model.event import EventType, NewEvent
from appliance.model.ids import new_id
from appliance.model.webhook import Endpoint

_JID, _PHONE, _TEXT = "999000000010@s.whatsapp.net", "999000000010", "This is a test of your webhook."


def sample(endpoint: Endpoint, device_id: str, now_ms: int) -> NewEvent:
    """An event of the first type that the endpoint takes, messages preferred, for this endpoint alone."""
    type_ = EventType.MESSAGE_RECEIVED
    if type_ not in endpoint.events:
        type_ = endpoint.events[0]
    data = {"deviceId": device_id, **_BODIES[type_], "timestamp": now_ms // 1000}
    if type_ is not EventType.DEVICE_STATUS:
        data["id"] = new_id()
    data["test"] = True
    return NewEvent(endpoint.account_id, device_id, type_, data, only_endpoint=endpoint.id)


_BODIES: dict[EventType, dict[str, Any]] = {
    EventType.MESSAGE_RECEIVED: {
        "remoteJid": _JID,
        "fromMe": False,
        "type": "conversation",
        "content": {"conversation": _TEXT},
        "messageId": "TEST00000000000000000000",
        "kind": "text",
        "text": _TEXT,
        "sender": {"jid": _JID, "phone": _PHONE, "lid": None, "pushName": "Test"},
        "chat": {"kind": "direct", "name": "Test"},
    },
    EventType.MESSAGE_STATUS: {
        "remoteJid": _JID,
        "messageId": "TEST00000000000000000000",
        "fromMe": True,
        "status": "delivered",
    },
    EventType.DEVICE_STATUS: {"status": "CONNECTED"},
}
