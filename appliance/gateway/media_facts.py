"""What a file tells about itself: its type, play time and picture size, read from headers without
decoding."""

import logging
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
from mutagen.aac import AACInfo
from mutagen.mp3 import MPEGInfo
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WaveStreamInfo

from appliance.gateway.media_boxes import read_movie
from appliance.gateway.media_types import HEAD_SIZE, OPUS, sniffed

log = logging.getLogger(__name__)

_LONGEST_S = 7 * 24 * 3600
_MARKERS_LIMIT = 2000
_MP4_FAMILY = {"video/mp4", "video/3gpp", "audio/mp4", "video/quicktime"}


class Facts(msgspec.Struct):
    """`mimetype` as the bytes show it; whole `seconds`; `width` and `height` in pixels; None: not known."""

    mimetype: str | None = None
    seconds: int | None = None
    width: int | None = None
    height: int | None = None


def examine(path: Path) -> Facts:
    """Read the file's headers; what is broken in them stays unknown. Reads the disk. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD_SIZE)
        facts = Facts(sniffed(head))
        try:
            _complete(facts, file, head)
        except Exception as error:  # noqa: BLE001 (a stranger's bytes in another's parser: anything may come)
            log.info("media_headers_broken", extra={"type": facts.mimetype, "error": type(error).__name__})
    return facts


def _complete(facts: Facts, file: BinaryIO, head: bytes) -> None:
    file.seek(0)
    if facts.mimetype in _MP4_FAMILY:
        _complete_movie(facts, file)
    elif facts.mimetype in _LENGTHS:
        facts.seconds = whole_seconds(_LENGTHS[facts.mimetype](file))
    elif facts.mimetype == "image/jpeg":
        facts.width, facts.height = _jpeg_size(file)
    elif facts.mimetype in _SIZES:
        facts.width, facts.height = _SIZES[facts.mimetype](head)


def whole_seconds(seconds: float | None) -> int | None:
    """Rounded, at least 1; None for what cannot be a play time."""
    if seconds is None or not math.isfinite(seconds) or not 0 < seconds <= _LONGEST_S:
        return None
    return max(1, round(seconds))


def _complete_movie(facts: Facts, file: BinaryIO) -> None:
    movie = read_movie(file)
    facts.seconds = whole_seconds(movie.seconds)
    facts.width, facts.height = movie.width, movie.height
    if movie.has_sound and not movie.has_picture and facts.mimetype == "video/mp4":
        # Recorders write sound alone under the brands of films.
        facts.mimetype = "audio/mp4"


def _length(reader: Callable[[BinaryIO], object]) -> Callable[[BinaryIO], float]:
    def read(file: BinaryIO) -> float:
        found = reader(file)
        return float(getattr(found, "info", found).length)  # type: ignore[attr-defined]

    return read


# The stream header alone where mutagen can: tags may be compressed and unfold to more than memory holds.
_LENGTHS = {
    "audio/mpeg": _length(MPEGInfo),
    "audio/aac": _length(AACInfo),
    "audio/ogg": _length(OggVorbis),
    OPUS: _length(OggOpus),
    "audio/wav": _length(WaveStreamInfo),
}


def _jpeg_size(file: BinaryIO) -> tuple[int, int]:
    """From the frame header (ITU-T T.81, B.2.2)."""
    file.seek(2)
    for _ in range(_MARKERS_LIMIT):
        mark, kind, size = struct.unpack(">BBH", file.read(4))
        if mark != 0xFF:
            raise ValueError("no marker where one must be")
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">xHH", file.read(5))
            return width, height
        file.seek(size - 2, 1)
    raise ValueError("no frame header")


def _png_size(head: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", head, 16)
    return width, height


def _gif_size(head: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", head, 6)
    return width, height


def _webp_size(head: bytes) -> tuple[int, int]:
    """RFC 9649, sections 2.5 (lossy), 2.6 (lossless) and 2.7 (extended)."""
    form = head[12:16]
    if form == b"VP8X":
        return _int24(head, 24) + 1, _int24(head, 27) + 1
    if form == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _int24(head: bytes, offset: int) -> int:
    return int.from_bytes(head[offset : offset + 3], "little")


_SIZES = {"image/png": _png_size, "image/gif": _gif_size, "image/webp": _webp_size}
