"""What pretend people write, in the shape in which WhatsApp-Web clients see it.

Field names and their order are those of WhatsApp's `WAWebProtobufsE2E.Message`, as JSON: 64-bit numbers are
strings, bytes base64.
"""

import base64
import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from appliance.engine.base import IncomingMedia, MessageIn, PretendMessage, Quoted, ReplyTo
from appliance.engine.simulator_files import PretendFile
from appliance.engine.simulator_people import Envelope
from appliance.engine.simulator_samples import THUMBNAIL

Content = dict[str, Any]

_KINDS = {
    "conversation": "text",
    "extendedTextMessage": "text",
    "imageMessage": "image",
    "videoMessage": "video",
    "documentMessage": "document",
    "stickerMessage": "sticker",
    "locationMessage": "location",
    "reactionMessage": "reaction",
    "contactMessage": "contact",
    "pollCreationMessage": "poll",
    "pollUpdateMessage": "poll_vote",
}
_NEVER_THE_TYPE = {"senderKeyDistributionMessage", "messageContextInfo"}


class _Body(msgspec.Struct):
    """The message itself: its one content key, what stands there, and our reading of it."""

    type: str
    content: Any
    text: str | None = None
    details: dict[str, Any] = {}


def compose(
    envelope: Envelope, message: PretendMessage, file: PretendFile | None, *, update: bool = False
) -> MessageIn:
    """The event that tells of `message`. Raises ValueError for a kind that nobody can write."""
    if message.kind == "raw":
        return _raw(envelope, message, update=update)
    write = _WRITERS.get(message.kind)
    if write is None:
        raise ValueError(f"nobody writes messages of kind {message.kind}")
    body = write(envelope, message, file)
    details = {"forwarded": True} if message.forwarded else {}
    return _told(
        envelope,
        message,
        kind=message.kind,
        type_=body.type,
        content={} if body.content is None else {body.type: body.content},
        text=body.text,
        details=details | body.details,
        media=None if file is None else _media(message.kind, file),
        update=update,
    )


def _told(
    envelope: Envelope,
    message: PretendMessage,
    *,
    kind: str,
    type_: str,
    content: Content,
    text: str | None,
    details: dict[str, Any],
    media: IncomingMedia | None,
    update: bool,
) -> MessageIn:
    return MessageIn(
        chat=envelope.chat,
        sender=envelope.sender,
        wa_id=envelope.wa_id,
        timestamp=envelope.timestamp,
        from_me=message.from_me,
        kind=kind,
        type=type_,
        content=content,
        chat_alt=envelope.chat_alt,
        sender_alt=envelope.sender_alt,
        push_name=None if message.from_me else message.push_name,
        text=text,
        reply_to=_reply_to(envelope, message.reply),
        mentions=list(message.mentions),
        media=media,
        details=details,
        update=update,
    )


def _text(envelope: Envelope, message: PretendMessage, _file: PretendFile | None) -> _Body:
    text = message.text or ""
    if not (message.reply or message.mentions or message.forwarded):
        return _Body("conversation", text, text)
    return _Body("extendedTextMessage", {"text": text} | _context(envelope, message), text)


def _picture(key: str) -> Callable[[Envelope, PretendMessage, PretendFile | None], _Body]:
    def write(envelope: Envelope, message: PretendMessage, file: PretendFile | None) -> _Body:
        assert file is not None
        caption = {"caption": message.text} if message.text else {}
        seconds = {"seconds": file.seconds} if file.seconds is not None else {}
        parts = caption | seconds | _size(file) | {"jpegThumbnail": _base64(THUMBNAIL)}
        return _Body(key, _stored(envelope, file) | parts | _context(envelope, message), message.text)

    return write


def _sticker(envelope: Envelope, message: PretendMessage, file: PretendFile | None) -> _Body:
    assert file is not None
    return _Body("stickerMessage", _stored(envelope, file) | _size(file) | _context(envelope, message))


def _sound(envelope: Envelope, message: PretendMessage, file: PretendFile | None) -> _Body:
    assert file is not None
    voice = message.kind == "voice"
    waveform = {"waveform": _base64(bytes(40 + (n * 7) % 50 for n in range(64)))} if voice else {}
    parts = {"seconds": file.seconds or 0, "ptt": voice} | waveform | _context(envelope, message)
    return _Body("audioMessage", _stored(envelope, file) | parts)


def _document(envelope: Envelope, message: PretendMessage, file: PretendFile | None) -> _Body:
    assert file is not None
    caption = {"caption": message.text} if message.text else {}
    names = {"title": file.filename, "fileName": file.filename}
    content = _stored(envelope, file) | names | caption | _context(envelope, message)
    return _Body("documentMessage", content, message.text)


def _location(envelope: Envelope, message: PretendMessage, _file: PretendFile | None) -> _Body:
    place: dict[str, Any] = {"latitude": message.latitude or 0.0, "longitude": message.longitude or 0.0}
    content: Content = {"degreesLatitude": place["latitude"], "degreesLongitude": place["longitude"]}
    if message.name:
        place["name"] = content["name"] = message.name
    content |= _context(envelope, message)
    return _Body("locationMessage", content, message.name, {"location": place})


def _reaction(envelope: Envelope, message: PretendMessage, _file: PretendFile | None) -> _Body:
    target, emoji = _target(message), message.emoji or ""
    content = {
        "key": _key(envelope, message, target),
        "text": emoji,
        "senderTimestampMs": str(envelope.timestamp * 1000),
    }
    told = {"reaction": {"messageId": target.wa_id, "emoji": emoji}}
    return _Body("reactionMessage", content, emoji or None, told)


def _edit(envelope: Envelope, message: PretendMessage, _file: PretendFile | None) -> _Body:
    target, text = _target(message), message.text or ""
    content = {
        "key": _own_key(envelope, target),
        "type": "MESSAGE_EDIT",
        "editedMessage": {"conversation": text},
        "timestampMs": str(envelope.timestamp * 1000),
    }
    return _Body("protocolMessage", content, text, {"edits": target.wa_id})


def _delete(envelope: Envelope, message: PretendMessage, _file: PretendFile | None) -> _Body:
    target = _target(message)
    content = {"key": _own_key(envelope, target), "type": "REVOKE"}
    return _Body("protocolMessage", content, None, {"edits": target.wa_id})


def _poll_vote(envelope: Envelope, message: PretendMessage, _file: PretendFile | None) -> _Body:
    target = _target(message)
    vote = {"encPayload": _base64(secrets.token_bytes(50)), "encIv": _base64(secrets.token_bytes(12))}
    content = {
        "pollCreationMessageKey": _key(envelope, message, target),
        "vote": vote,
        "senderTimestampMs": str(envelope.timestamp * 1000),
    }
    told = {"vote": {"messageId": target.wa_id, "options": list(message.options)}}
    return _Body("pollUpdateMessage", content, None, told)


def _undecryptable(_envelope: Envelope, _message: PretendMessage, _file: PretendFile | None) -> _Body:
    return _Body("undecryptable", None)


_WRITERS: dict[str, Callable[[Envelope, PretendMessage, PretendFile | None], _Body]] = {
    "text": _text,
    "image": _picture("imageMessage"),
    "video": _picture("videoMessage"),
    "sticker": _sticker,
    "audio": _sound,
    "voice": _sound,
    "document": _document,
    "location": _location,
    "reaction": _reaction,
    "edit": _edit,
    "delete": _delete,
    "poll_vote": _poll_vote,
    "undecryptable": _undecryptable,
}


def _raw(envelope: Envelope, message: PretendMessage, *, update: bool) -> MessageIn:
    """Content as it is given; type, kind and text are read from it as far as we know them."""
    content = dict(message.content or {})
    type_ = _type_of(content)
    content.setdefault(type_, {})
    body = content[type_]
    text = message.text
    if text is None and isinstance(body, str):
        text = body
    elif text is None and isinstance(body, dict):
        text = next((body[key] for key in ("text", "caption") if isinstance(body.get(key), str)), None)
    kind = _KINDS.get(type_, "unknown")
    if type_ == "audioMessage":
        kind = "voice" if isinstance(body, dict) and body.get("ptt") else "audio"
    return _told(
        envelope,
        message,
        kind=kind,
        type_=type_,
        content=content,
        text=text,
        details={"forwarded": True} if message.forwarded else {},
        media=None,
        update=update,
    )


def _type_of(content: Content) -> str:
    names = [name for name in content if name not in _NEVER_THE_TYPE]
    fits = (name for name in names if name == "conversation" or name.endswith("Message"))
    return next(fits, names[0] if names else "conversation")


def _stored(envelope: Envelope, file: PretendFile) -> Content:
    """The members by which clients find a file on WhatsApp's servers."""
    number = secrets.randbelow(10**15)
    path = f"/v/t62.7118-24/{number}_n.enc?ccb=11-4&_nc_sid=5e03e0&mms3=true"
    return {
        "url": f"https://mmg.whatsapp.net{path}",
        "mimetype": file.mimetype,
        "fileSha256": _base64(file.sha256),
        "fileLength": str(file.size),
        "mediaKey": _base64(secrets.token_bytes(32)),
        "fileEncSha256": _base64(secrets.token_bytes(32)),
        "directPath": path,
        "mediaKeyTimestamp": str(envelope.timestamp),
    }


def _size(file: PretendFile) -> Content:
    return {"height": file.height, "width": file.width} if file.height and file.width else {}


def _media(kind: str, file: PretendFile) -> IncomingMedia:
    return IncomingMedia(kind, file.mimetype, file.size, file.filename, file.seconds, file.source)


def _context(envelope: Envelope, message: PretendMessage) -> Content:
    context: Content = {}
    if (reply := message.reply) is not None:
        context["stanzaId"] = reply.wa_id
        context["participant"] = reply.sender or envelope.me
        context["quotedMessage"] = {} if reply.text is None else {"conversation": reply.text}
    if message.mentions:
        context["mentionedJid"] = list(message.mentions)
    if message.forwarded:
        context |= {"forwardingScore": 1, "isForwarded": True}
    return {"contextInfo": context} if context else {}


def _reply_to(envelope: Envelope, reply: Quoted | None) -> ReplyTo | None:
    if reply is None:
        return None
    return ReplyTo(reply.wa_id, reply.sender or envelope.me, text=reply.text)


def _target(message: PretendMessage) -> Quoted:
    if message.target is None:
        raise ValueError(f"a message of kind {message.kind} needs its target")
    return message.target


def _key(envelope: Envelope, message: PretendMessage, target: Quoted) -> Content:
    """The key of somebody's message, as its writer sees it."""
    author = target.sender or envelope.me
    writer = {envelope.sender, envelope.sender_alt}
    key = {"remoteJid": envelope.chat, "fromMe": author in writer, "id": target.wa_id}
    if message.group:
        key["participant"] = author
    elif not message.from_me:
        key["remoteJid"] = envelope.me
    return key


def _own_key(envelope: Envelope, target: Quoted) -> Content:
    return {"remoteJid": envelope.chat, "fromMe": True, "id": target.wa_id}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
