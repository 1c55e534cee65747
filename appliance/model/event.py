"""Events: what the gateway tells its clients, by webhook and by stream."""

from enum import StrEnum
from typing import Any

import msgspec


class EventType(StrEnum):
    MESSAGE_RECEIVED = "message.received"
    MESSAGE_STATUS = "message.status"
    DEVICE_STATUS = "device.status"


class NewEvent(msgspec.Struct):
    """An event about to be appended: `data` is the flat JSON object without `eventId`, which the log adds.

    `chat_kind`, `kind`, `from_me`, `chat` are what endpoint filters look at (None where it does not apply).
    """

    account_id: str
    device_id: str
    type: EventType
    data: dict[str, Any]
    chat_kind: str | None = None
    kind: str | None = None
    from_me: bool | None = None
    chat: str | None = None
    only_endpoint: str | None = None


class Event(msgspec.Struct, kw_only=True):
    """A row of `events`: `no` rises over the whole gateway, so it rises within each account too.

    `body` is the webhook body: the canonical envelope `{"event":…,"timestamp":…,"data":{…}}`; `created_at`
    its timestamp (ms).
    """

    no: int
    account_id: str
    device_id: str
    type: EventType
    body: bytes
    crc: int
    created_at: int

    @property
    def data(self) -> bytes:
        """The flat `data` object: the very bytes within `body`."""
        return self.body[len(envelope_head(self.type, self.created_at)) : -1]


def envelope_head(type_: str, timestamp_ms: int) -> bytes:
    """The envelope's bytes up to the data object; a closing brace follows the data."""
    return b'{"event":"%s","timestamp":%d,"data":' % (type_.encode(), timestamp_ms)
