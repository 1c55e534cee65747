"""QR codes as pictures, drawn here: the library's own drawers need Pillow or an XML tree."""

import functools
import struct
import zlib
from base64 import b64encode

import qrcode  # type: ignore[import-untyped]
from qrcode.constants import ERROR_CORRECT_L  # type: ignore[import-untyped]

_QUIET = 4
"""Light modules around the code; readers need four."""
_PNG_SCALE = 6
# Any mask is valid; trying all eight for the prettiest takes eight times as long and a phone reads them all.
_MASK = 2


def svg(text: str) -> str:
    """The code as an SVG picture, one unit a module."""
    rows = _modules(text)
    size = len(rows)
    path = "".join(f"M{x} {y}h{n}v1h-{n}z" for y, row in enumerate(rows) for x, n in _runs(row))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" shape-rendering="crispEdges">'
        f'<path fill="#fff" d="M0 0h{size}v{size}H0z"/><path d="{path}"/></svg>'
    )


def data_uri(text: str) -> str:
    """The SVG picture as a `data:` address that can stand in an `img`."""
    return "data:image/svg+xml;base64," + b64encode(svg(text).encode()).decode()


def png(text: str) -> bytes:
    """The code as a PNG of one bit a pixel."""
    lines = []
    for row in _modules(text):
        pixels = "".join("0" * _PNG_SCALE if dark else "1" * _PNG_SCALE for dark in row)
        width = len(pixels)
        packed = int(pixels.ljust(-(-width // 8) * 8, "0"), 2).to_bytes(-(-width // 8), "big")
        lines += [b"\0" + packed] * _PNG_SCALE
    header = struct.pack(">IIBBBBB", len(lines), len(lines), 1, 0, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"".join(lines))) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


@functools.lru_cache(maxsize=8)
def _modules(text: str) -> tuple[tuple[bool, ...], ...]:
    """The code's modules with the quiet zone; many streams show the same few codes at once."""
    code = qrcode.QRCode(error_correction=ERROR_CORRECT_L, border=_QUIET, mask_pattern=_MASK)
    code.add_data(text)
    code.make(fit=True)
    return tuple(tuple(bool(dark) for dark in row) for row in code.get_matrix())


def _runs(row: tuple[bool, ...]) -> list[tuple[int, int]]:
    """The dark stretches of a row as (start, length)."""
    found: list[tuple[int, int]] = []
    for x, dark in enumerate(row):
        if dark and found and sum(found[-1]) == x:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        elif dark:
            found.append((x, 1))
    return found
