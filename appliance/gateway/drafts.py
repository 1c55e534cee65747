"""Drafts: what a caller wants to send, before it is accepted."""

from typing import Any

import msgspec

from appliance.engine.base import OutgoingMedia, OutgoingMessage, Quoted
from appliance.gateway import canonical_json
from appliance.model.account import Account
from appliance.model.device import Device
from appliance.model.errors import Invalid
from appliance.model.ids import new_id
from appliance.model.jid import Jid
from appliance.model.message import Message, MessageStatus
from appliance.store import messages
from appliance.store.database import Reader

_MEDIA_TYPES = {
    "image": "imageMessage",
    "video": "videoMessage",
    "audio": "audioMessage",
    "voice": "audioMessage",
    "document": "documentMessage",
    "sticker": "stickerMessage",
}


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A message to send: `text` is the body or the caption, `reply_to` our id or WhatsApp's,
    `expires_in_s` how long it may wait."""

    to: Jid
    kind: str
    text: str | None = None
    media: OutgoingMedia | None = None
    reply_to: str | None = None
    mentions: tuple[Jid, ...] = ()
    expires_in_s: int = 86_400


async def compose(reader: Reader, account: Account, device: Device, draft: Draft, now_ms: int) -> Message:
    """The row of a new outgoing message, `queued`. Raises Invalid when the message it answers is not
    known."""
    quoted = await _quoted(reader, device, draft.reply_to)
    message_id = new_id()
    outgoing = OutgoingMessage(
        ref=message_id,
        to=str(draft.to),
        kind=draft.kind,
        text=draft.text,
        media=draft.media,
        reply=quoted,
        mentions=[str(jid) for jid in draft.mentions],
    )
    kind, content = _content(draft, quoted)
    return Message(
        id=message_id,
        account_id=account.id,
        device_id=device.id,
        sandbox=device.sandbox,
        chat=str(draft.to),
        from_me=True,
        via_api=True,
        kind=draft.kind,
        type=kind,
        text=draft.text,
        content=canonical_json.encode(content),
        status=MessageStatus.QUEUED,
        outgoing=msgspec.json.encode(outgoing),
        filename=draft.media.filename if draft.media is not None else None,
        created_at=now_ms,
        expires_at=now_ms + draft.expires_in_s * 1000,
    )


async def _quoted(reader: Reader, device: Device, reply_to: str | None) -> Quoted | None:
    if reply_to is None:
        return None
    message = await reader.one(messages.on_device(device.id, reply_to))
    if message is None or message.wa_id is None:
        raise Invalid("This device has no sent or received message with that id.", field="replyTo")
    author = message.participant or (None if message.from_me else message.chat)
    return Quoted(message.wa_id, author, message.text)


def _content(draft: Draft, quoted: Quoted | None) -> tuple[str, dict[str, Any]]:
    """`type` and `content` of our own message, in the names WhatsApp-Web clients use."""
    context: dict[str, Any] = {}
    if quoted is not None:
        context = {"stanzaId": quoted.wa_id, "participant": quoted.sender}
    if draft.mentions:
        context["mentionedJid"] = [str(jid) for jid in draft.mentions]
    if draft.media is None and not context:
        return "conversation", {"conversation": draft.text}
    if draft.media is None:
        return "extendedTextMessage", {"extendedTextMessage": {"text": draft.text, "contextInfo": context}}
    told = {
        "mimetype": draft.media.mimetype,
        "fileLength": str(draft.media.size),
        "fileName": draft.media.filename,
        "seconds": draft.media.seconds,
        "caption": draft.text,
        "ptt": True if draft.kind == "voice" else None,
        "contextInfo": context or None,
    }
    kind = _MEDIA_TYPES[draft.kind]
    return kind, {kind: {name: value for name, value in told.items() if value is not None}}
