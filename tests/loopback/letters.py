"""What a person can write: builders of message contents, and the file inside a received one."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from loopback.crypto import sha256
from loopback.media import BlobStore, seal, unseal
from loopback.nodes import JID
from loopback.protos import e2e

_WRAPPERS = (
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
    "editedMessage",
)
_NO_CONTENT = ("senderKeyDistributionMessage", "messageContextInfo")
_VIEW_ONCE = "viewOnceMessageV2"


class _Kind(NamedTuple):
    field: str  # of the Message
    part: str  # the protobuf message's name
    crypto: str  # the name in the key derivation
    mimetype: str


KINDS = {
    "image": _Kind("imageMessage", "ImageMessage", "Image", "image/jpeg"),
    "video": _Kind("videoMessage", "VideoMessage", "Video", "video/mp4"),
    "audio": _Kind("audioMessage", "AudioMessage", "Audio", "audio/mpeg"),
    "voice": _Kind("audioMessage", "AudioMessage", "Audio", "audio/ogg; codecs=opus"),
    "document": _Kind("documentMessage", "DocumentMessage", "Document", "application/pdf"),
    "sticker": _Kind("stickerMessage", "StickerMessage", "Image", "image/webp"),
}
_CRYPTO_BY_FIELD = {kind.field: kind.crypto for kind in KINDS.values()} | {"ptvMessage": "Video"}


@dataclass(frozen=True, slots=True)
class File:
    """A file to send; `kind` is one of KINDS."""

    kind: str
    data: bytes
    caption: str = ""
    filename: str = ""
    mimetype: str = ""
    seconds: int = 0
    thumbnail: bytes = b""
    view_once: bool = False


@dataclass(slots=True)
class Received:
    """One decrypted message in a phone's inbox; own companions' messages come too (`from_me`)."""

    id: str
    chat: JID
    sender: JID
    message: Any  # waE2E Message
    from_me: bool
    received_at: int  # ms since 1970
    edit: str = ""  # the stanza's edit attribute: 1 edited, 7 revoked, 8 revoked by an admin

    @property
    def content(self) -> Any:
        """The message without its wrappers."""
        return unwrap(self.message)

    @property
    def kind(self) -> str:
        """The content's field, such as `conversation` or `imageMessage`."""
        names = (f.name for f, _ in self.content.ListFields())
        return next((n for n in names if n not in _NO_CONTENT), "")

    @property
    def text(self) -> str:
        """The text or caption, "" when the kind has none."""
        content = self.content
        if content.conversation:
            return str(content.conversation)
        part = getattr(content, self.kind) if self.kind else None
        return str(getattr(part, "text", "") or getattr(part, "caption", ""))

    @property
    def key(self) -> dict[str, object]:
        """How another message refers to this one (reaction, edit, revoke)."""
        group = {"participant": self.sender.bare} if self.chat.server == "g.us" else {}
        return {"remoteJID": self.chat.bare, "fromMe": self.from_me, "ID": self.id, **group}


def unwrap(message: Any) -> Any:
    """Open ephemeral, view-once and document-with-caption envelopes."""
    for name in _WRAPPERS:
        if message.HasField(name):
            return unwrap(getattr(message, name).message)
    return message


def text(body: str) -> Any:
    return e2e.Message(conversation=body)


def reply(quoted: Received, body: str) -> Any:
    context = {"stanzaID": quoted.id, "participant": quoted.sender.bare, "quotedMessage": quoted.content}
    return e2e.Message(extendedTextMessage={"text": body, "contextInfo": context})


def mention(body: str, jids: list[JID]) -> Any:
    return e2e.Message(extendedTextMessage={"text": body, "contextInfo": {"mentionedJID": jids}})


def reaction(to: Received, emoji: str) -> Any:
    """An empty emoji takes the reaction back."""
    content = {"key": to.key, "text": emoji, "senderTimestampMS": _now_ms()}
    return e2e.Message(reactionMessage=content)


def edit(chat: JID, message_id: str, body: str) -> Any:
    """As whatsmeow's BuildEdit: wrapped in `editedMessage`."""
    content = {
        "key": {"remoteJID": chat, "fromMe": True, "ID": message_id},
        "type": e2e.ProtocolMessage.MESSAGE_EDIT,
        "editedMessage": text(body),
        "timestampMS": _now_ms(),
    }
    return e2e.Message(editedMessage={"message": e2e.Message(protocolMessage=content)})


def revoke(chat: JID, message_id: str) -> Any:
    key = {"remoteJID": chat, "fromMe": True, "ID": message_id}
    return e2e.Message(protocolMessage={"key": key, "type": e2e.ProtocolMessage.REVOKE})


def file_message(store: BlobStore, host: str, file: File) -> Any:
    """Encrypt and upload a file; returns the message that points to it. KeyError for an unknown kind."""
    kind, key = KINDS[file.kind], os.urandom(32)
    blob = seal(key, kind.crypto, file.data)
    path = store.put(blob)
    part = getattr(e2e, kind.part)(
        URL=f"https://{host}{path}",
        directPath=path,
        mediaKey=key,
        mimetype=file.mimetype or kind.mimetype,
        fileLength=len(file.data),
        fileSHA256=sha256(file.data),
        fileEncSHA256=sha256(blob),
        mediaKeyTimestamp=int(time.time()),
    )
    optional: dict[str, object] = {
        "caption": file.caption,
        "fileName": file.filename,
        "title": file.filename,
        "seconds": file.seconds,
        "JPEGThumbnail": file.thumbnail,
        "PTT": file.kind == "voice",
    }
    known = part.DESCRIPTOR.fields_by_name
    for name, value in optional.items():
        if value and name in known:
            setattr(part, name, value)
    message = e2e.Message(**{kind.field: part})
    return e2e.Message(**{_VIEW_ONCE: {"message": message}}) if file.view_once else message


def file_bytes(store: BlobStore, received: Received) -> bytes:
    """Download and decrypt. LookupError without a file (or an expired one), ValueError when it is damaged."""
    crypto = _CRYPTO_BY_FIELD.get(received.kind)
    if crypto is None:
        raise LookupError(f"no file in a {received.kind or 'message'}")
    part = getattr(received.content, received.kind)
    blob = store.get(part.directPath)
    if blob is None:
        raise LookupError("the file is not on the media host")
    if sha256(blob) != part.fileEncSHA256:
        raise ValueError("the encrypted file has another hash")
    data = unseal(part.mediaKey, crypto, blob)
    if sha256(data) != part.fileSHA256 or len(data) != part.fileLength:
        raise ValueError("the file has another hash or length")
    return data


def stanza_type(message: Any) -> str:
    """The `type` attribute of the stanza that carries a message."""
    content = unwrap(message)
    if content.HasField("reactionMessage"):
        return "reaction"
    if any(content.HasField(field) for field in _CRYPTO_BY_FIELD):
        return "media"
    return "text"


def _now_ms() -> int:
    return time.time_ns() // 10**6
