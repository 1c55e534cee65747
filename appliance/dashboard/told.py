"""The newest events of a device as people read them: what happened, with whom, and the exact data."""

from typing import Any

import msgspec

from appliance.dashboard.bubbles import shown_address
from appliance.model.event import Event, EventType

LONGEST_JSON = 6_000
LONGEST_TEXT = 120


class Told(msgspec.Struct, frozen=True):
    """One event: `word` is a message's kind or status or a device's state, `who` the chat it is about, `text`
    what else is known of it; `json` its data, indented and cut."""

    no: int
    type: EventType
    at: int
    from_me: bool
    word: str
    who: str
    text: str
    json: str

    @property
    def is_message(self) -> bool:
        return self.type is EventType.MESSAGE_RECEIVED

    @property
    def is_status(self) -> bool:
        return self.type is EventType.MESSAGE_STATUS

    @property
    def version(self) -> str:
        """Events never change."""
        return str(self.no)


def told(event: Event) -> Told:
    """The event for people; what is strange in it is left out."""
    data = _data(event)
    status, kind = _text(data.get("status")), _text(data.get("kind"))
    pretty = msgspec.json.format(event.data, indent=2).decode("utf-8", "replace")
    return Told(
        no=event.no,
        type=event.type,
        at=event.created_at,
        from_me=data.get("fromMe") is True,
        word=kind if event.type is EventType.MESSAGE_RECEIVED else status,
        who=shown_address(_text(data.get("remoteJid"))) if data.get("remoteJid") else "",
        text=(_text(data.get("text")) or _text(data.get("reason")))[:LONGEST_TEXT],
        json=pretty if len(pretty) <= LONGEST_JSON else pretty[:LONGEST_JSON] + "\n…",
    )


def _data(event: Event) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(event.data)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
