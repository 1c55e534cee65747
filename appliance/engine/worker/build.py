"""From an OutgoingMessage to WhatsApp's protobuf; files are uploaded on the way."""

import time
from pathlib import Path
from typing import Any

from appliance.engine.base import EngineError, OutgoingMedia, OutgoingMessage
from appliance.engine.worker import addresses
from appliance.engine.worker.calls import Calls
from appliance.engine.worker.protos import E2E
from appliance.model.jid import NEWSLETTER

_ANIMATED_WEBP = b"ANIM"


def built(wanted: OutgoingMessage, calls: Calls) -> Any:
    """The waE2E Message. Raises EngineError when the upload fails; nothing has been sent then."""
    if wanted.media is None:
        return _text(wanted, calls)
    if wanted.to.endswith("@" + NEWSLETTER):
        raise EngineError("invalid_recipient", "files cannot be sent to newsletters")
    try:
        data = Path(wanted.media.path).read_bytes()
    except OSError as error:
        raise EngineError("media_unavailable", type(error).__name__) from None
    upload = calls.upload(data, wanted.kind)
    file = _file(upload, wanted.media) | {"contextInfo": _context(wanted, calls)}
    return _MEDIA[wanted.kind](wanted, wanted.media, file, data)


def _text(wanted: OutgoingMessage, calls: Calls) -> Any:
    text, context = wanted.text or "", _context(wanted, calls)
    if context is None:
        return E2E.Message(conversation=text)
    return E2E.Message(extendedTextMessage=E2E.ExtendedTextMessage(text=text, contextInfo=context))


def _context(wanted: OutgoingMessage, calls: Calls) -> Any | None:
    if wanted.reply is None and not wanted.mentions:
        return None
    context = E2E.ContextInfo(mentionedJID=wanted.mentions)
    if wanted.reply is not None:
        me = calls.me()
        context.stanzaID = wanted.reply.wa_id
        context.participant = wanted.reply.sender or _own_address(wanted.to, me.jid, me.lid)
        context.quotedMessage.conversation = wanted.reply.text or ""
    return context


def _own_address(to: str, jid: str | None, lid: str | None) -> str:
    """Our address in the form that the chat uses."""
    preferred = (lid, jid) if addresses.is_lid(to) else (jid, lid)
    return next((address for address in preferred if address), "")


def _file(upload: Any, media: OutgoingMedia) -> dict[str, Any]:
    return {
        "URL": upload.url,
        "directPath": upload.DirectPath,
        "mediaKey": upload.MediaKey,
        "mediaKeyTimestamp": int(time.time()),
        "fileEncSHA256": upload.FileEncSHA256,
        "fileSHA256": upload.FileSHA256,
        "fileLength": media.size,
        "mimetype": media.mimetype,
    }


def _image(wanted: OutgoingMessage, media: OutgoingMedia, file: dict[str, Any], _data: bytes) -> Any:
    part = E2E.ImageMessage(**file, caption=wanted.text, **_picture(media))
    return E2E.Message(imageMessage=part)


def _video(wanted: OutgoingMessage, media: OutgoingMedia, file: dict[str, Any], _data: bytes) -> Any:
    part = E2E.VideoMessage(**file, caption=wanted.text, seconds=media.seconds, **_picture(media))
    return E2E.Message(videoMessage=part)


def _audio(_wanted: OutgoingMessage, media: OutgoingMedia, file: dict[str, Any], _data: bytes) -> Any:
    return E2E.Message(audioMessage=E2E.AudioMessage(**file, seconds=media.seconds, PTT=False))


def _voice(_wanted: OutgoingMessage, media: OutgoingMedia, file: dict[str, Any], _data: bytes) -> Any:
    part = E2E.AudioMessage(**file, seconds=media.seconds, waveform=media.waveform, PTT=True)
    return E2E.Message(audioMessage=part)


def _document(wanted: OutgoingMessage, media: OutgoingMedia, file: dict[str, Any], _data: bytes) -> Any:
    name = media.filename or Path(media.path).name
    part = E2E.DocumentMessage(**file, fileName=name, title=name, caption=wanted.text)
    if media.thumbnail is not None:
        part.JPEGThumbnail = media.thumbnail
    if not wanted.text:
        return E2E.Message(documentMessage=part)
    # Phones show a document's caption only when it comes in this wrapper.
    inner = E2E.Message(documentMessage=part)
    return E2E.Message(documentWithCaptionMessage=E2E.FutureProofMessage(message=inner))


def _sticker(_wanted: OutgoingMessage, media: OutgoingMedia, file: dict[str, Any], data: bytes) -> Any:
    size = {"width": media.width, "height": media.height}
    part = E2E.StickerMessage(**file, **size, isAnimated=_ANIMATED_WEBP in data[:64])
    return E2E.Message(stickerMessage=part)


def _picture(media: OutgoingMedia) -> dict[str, Any]:
    return {"width": media.width, "height": media.height, "JPEGThumbnail": media.thumbnail}


_MEDIA = {
    "image": _image,
    "video": _video,
    "audio": _audio,
    "voice": _voice,
    "document": _document,
    "sticker": _sticker,
}
