"""What a file is, judged by its first bytes, and as which kind of message it can be sent."""

import re
from collections.abc import Mapping

from appliance.model.errors import FieldError, Invalid, UnsupportedMediaType
from appliance.model.message import MediaKind

HEAD_SIZE = 512
OCTETS = "application/octet-stream"
OPUS = "audio/ogg; codecs=opus"

FITS: Mapping[MediaKind, tuple[str, ...]] = {
    "image": ("image/jpeg", "image/png", "image/webp", "image/gif"),
    "video": ("video/mp4", "video/3gpp"),
    "audio": ("audio/mpeg", "audio/mp4", "audio/aac", "audio/amr", "audio/ogg", OPUS, "audio/wav"),
    "voice": (OPUS,),
    "sticker": ("image/webp",),
}
"""What phones show or play. WhatsApp converts nothing, so that another type would arrive as a broken
message."""

_MIMETYPE = re.compile(
    r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}"
    r"(; ?[a-z0-9_.-]{1,64}=(?:[\w.+-]{1,64}|\"[\w.+, -]{1,64}\"))*\Z",
    re.IGNORECASE | re.ASCII,
)
_SAYS_NOTHING = ("", OCTETS, "binary/octet-stream", "application/x-www-form-urlencoded")

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"#!AMR", "audio/amr"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heic",
    b"avif": "image/avif",
}
_EXTENSIONS = {
    "aac": "audio/aac",
    "amr": "audio/amr",
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "gif": "image/gif",
    "html": "text/html",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "json": "application/json",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "ogg": "audio/ogg",
    "pdf": "application/pdf",
    "png": "image/png",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "txt": "text/plain",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xml": "application/xml",
    "zip": "application/zip",
    "3gp": "video/3gpp",
}
_ENDINGS = {mimetype: ending for ending, mimetype in reversed(_EXTENSIONS.items())}


def sniffed(head: bytes) -> str | None:
    """The type that a file's first HEAD_SIZE bytes show, None when they show none."""
    for beginning, mimetype in _BEGINNINGS:
        if head.startswith(beginning):
            return mimetype
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return "video/3gpp" if brand[:2] == b"3g" else _BRANDS.get(brand, "video/mp4")
    if head[:4] == b"OggS":
        return _ogg(head)
    return _mpeg_audio(head)


def fitting(
    kind: MediaKind, found: str | None, declared: str | None = None, filename: str | None = None
) -> str:
    """The type under which a file is sent as `kind`: `found` in its bytes; a document's may be `declared`.

    Raises UnsupportedMediaType, naming what fits.
    """
    if kind == "document":
        return _document_type(found, declared, filename)
    if found in FITS[kind]:
        return found
    fits = ", ".join(FITS[kind])
    what = f"This file is {found}" if found else "This file is of a type that its bytes do not show"
    detail = f"{what}; a message of kind {kind} takes {fits}. Anything can be sent as kind document."
    raise UnsupportedMediaType(detail, errors=(FieldError("kind", detail, "document"),))


def checked_mimetype(text: str | None) -> str | None:
    """`text` when it has the form of a media type; None when it says nothing. Raises Invalid."""
    if text is None or text.strip().lower() in _SAYS_NOTHING:
        return None
    if not is_mimetype(text.strip()):
        raise Invalid("A media type looks like application/pdf.", field="mimetype")
    return text.strip()


def is_mimetype(text: str) -> bool:
    return _MIMETYPE.match(text) is not None


def ending(mimetype: str) -> str:
    """The usual file name ending of a type, with its dot; `.bin` for a type not known here."""
    plain = mimetype.partition(";")[0].strip().lower()
    return "." + _ENDINGS.get(plain, "bin")


def _document_type(found: str | None, declared: str | None, filename: str | None) -> str:
    by_name = _EXTENSIONS.get((filename or "").rpartition(".")[2].lower())
    return declared or by_name or found or OCTETS


def _ogg(head: bytes) -> str:
    if b"OpusHead" in head:
        return OPUS
    return "video/ogg" if b"\x80theora" in head else "audio/ogg"


def _mpeg_audio(head: bytes) -> str | None:
    """A file that begins with a frame: ADTS (layer bits 0), or MPEG audio of layer II or III."""
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "audio/aac"
    layer, bitrate, rate = head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    is_frame = head[1] & 0xE0 == 0xE0 and layer in (1, 2) and 0 < bitrate < 15 and rate != 3
    return "audio/mpeg" if is_frame else None
