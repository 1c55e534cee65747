"""The few facts in an MP4 or 3GP file that a message tells: play time, picture size, what tracks there are.

Boxes: ISO/IEC 14496-12, sections 4.2 (box), 8.2.2 (mvhd), 8.3.2 (tkhd), 8.4.3 (hdlr).
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

_BOXES_LIMIT = 4096


class Movie(msgspec.Struct):
    """`seconds` of play time; `width` and `height` as shown, in pixels; None where the file does not say."""

    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    has_picture: bool = False
    has_sound: bool = False


class _Box(msgspec.Struct, frozen=True):
    name: bytes
    start: int
    end: int


def read_movie(file: BinaryIO) -> Movie:
    """What the file's `moov` box says. Raises ValueError and struct.error when the file is broken."""
    movie = Movie()
    for box in _inside(file, 0, file.seek(0, 2)):
        if box.name == b"moov":
            for part in _inside(file, box.start, box.end):
                if part.name == b"mvhd":
                    movie.seconds = _seconds(_content(file, part, 32))
                elif part.name == b"trak":
                    _read_track(file, part, movie)
            break
    return movie


def _read_track(file: BinaryIO, track: _Box, movie: Movie) -> None:
    header, handler = b"", b""
    for part in _inside(file, track.start, track.end):
        if part.name == b"tkhd":
            header = _content(file, part, 96)
        elif part.name == b"mdia":
            for inner in _inside(file, part.start, part.end):
                if inner.name == b"hdlr":
                    handler = _content(file, inner, 12)[8:12]
    if handler == b"soun":
        movie.has_sound = True
    elif handler == b"vide":
        movie.has_picture = True
        movie.width, movie.height = _size(header)


def _inside(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    """The boxes between two offsets."""
    for _ in range(_BOXES_LIMIT):
        if end - start < 8:
            return
        file.seek(start)
        size, name = struct.unpack(">I4s", file.read(8))
        begin = start + 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            begin = start + 16
        stop = end if size == 0 else start + size
        if stop < begin or stop > end:
            raise ValueError("a box ends outside of its parent")
        yield _Box(name, begin, stop)
        start = stop


def _content(file: BinaryIO, box: _Box, size: int) -> bytes:
    file.seek(box.start)
    return file.read(min(size, box.end - box.start))


def _seconds(header: bytes) -> float | None:
    layout, unknown = (">IQ", 2**64 - 1) if header[0] == 1 else (">II", 2**32 - 1)
    scale, duration = struct.unpack_from(layout, header, 20 if header[0] == 1 else 12)
    return duration / scale if scale and duration not in (0, unknown) else None


def _size(header: bytes) -> tuple[int | None, int | None]:
    matrix = 52 if header[0] == 1 else 40
    a, _, _, _, d = struct.unpack_from(">5i", header, matrix)
    width, height = (side >> 16 for side in struct.unpack_from(">II", header, matrix + 36))
    if not (width and height):
        return None, None
    # A phone held upright films sideways and says so in the matrix.
    return (height, width) if a == 0 and d == 0 else (width, height)
