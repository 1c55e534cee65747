"""A message and the ladder of states an outgoing one climbs."""

from enum import StrEnum
from typing import Literal

import msgspec

MediaKind = Literal["image", "video", "audio", "voice", "document", "sticker"]
MEDIA_KINDS: tuple[MediaKind, ...] = ("image", "video", "audio", "voice", "document", "sticker")


class MessageStatus(StrEnum):
    QUEUED = "queued"
    """On disk, not yet handed to WhatsApp."""
    SENDING = "sending"
    """Being handed to WhatsApp now."""
    SENT = "sent"
    """WhatsApp's server has taken it."""
    DELIVERED = "delivered"
    """It reached a device of the recipient."""
    READ = "read"
    PLAYED = "played"
    """A voice note or video was played."""
    FAILED = "failed"
    """It was not sent, or WhatsApp took it back; `error` says why."""
    UNCONFIRMED = "unconfirmed"
    """Interrupted while WhatsApp was taking it: it may or may not have been sent; never sent again by
    itself."""


_LADDER = {
    MessageStatus.QUEUED: 0,
    MessageStatus.SENDING: 1,
    MessageStatus.UNCONFIRMED: 2,
    MessageStatus.SENT: 3,
    MessageStatus.DELIVERED: 4,
    MessageStatus.READ: 5,
    MessageStatus.PLAYED: 6,
}
WAITING = (MessageStatus.QUEUED, MessageStatus.SENDING)


def moves_forward(old: MessageStatus, new: MessageStatus) -> bool:
    """Whether `new` may follow `old`: only upwards, and into `failed` from anything not yet delivered.

    A receipt for an `unconfirmed` message proves that it was sent, so that it goes on upwards from there.
    """
    if old is MessageStatus.FAILED:
        return False
    if new is MessageStatus.FAILED:
        return _LADDER[old] <= _LADDER[MessageStatus.SENT]
    return _LADDER[new] > _LADDER[old]


class Message(msgspec.Struct, kw_only=True):
    """A row of `messages`.

    `chat` is the remote JID (phone form whenever known); `sender` the author's JID in a group, else None
    as `participant`;
    `timestamp` seconds (WhatsApp's), `created_at` and `expires_at` ms. `status` is None for what others
    wrote.
    `content` is the message as canonical JSON bytes, `details` the rest of what webhooks tell (JSON bytes),
    `outgoing` what the engine needs to send it (JSON bytes), kept while it waits. `filename` is the name of
    its file.
    """

    no: int = 0
    id: str
    account_id: str
    device_id: str
    sandbox: bool = False
    wa_id: str | None = None
    chat: str
    participant: str | None = None
    from_me: bool
    via_api: bool = False
    kind: str
    type: str
    text: str | None = None
    content: bytes = b"{}"
    details: bytes = b"{}"
    status: MessageStatus | None = None
    error_code: str | None = None
    error_message: str | None = None
    outgoing: bytes | None = None
    media_id: str | None = None
    filename: str | None = None
    told: bool = True
    timestamp: int | None = None
    created_at: int
    expires_at: int | None = None
