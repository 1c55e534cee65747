"""The modules inside a Go program or shared library, read from the build information that Go leaves in it.

Format: debug/buildinfo of Go's standard library (Go 1.18 and later): a 32-byte header, then two strings, each
after its length as a varint: Go's version, and the module list between two 16-byte marks.
"""

from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"\xff Go buildinf:"
_HEADER_BYTES, _ALIGNED_TO, _FLAGS_AT, _INLINE = 32, 16, 15, 2
_MARK_BYTES = 16


@dataclass(frozen=True)
class Module:
    """One module: `sum` is Go's own hash of its sources (`h1:…`)."""

    path: str
    version: str
    sum: str


def read(binary: Path) -> tuple[str, list[Module]]:
    """Go's version (`1.26.8`) and the modules built in. Raises ValueError when there is no such list."""
    content = binary.read_bytes()
    at = content.find(_MAGIC)
    while at % _ALIGNED_TO and at >= 0:
        at = content.find(_MAGIC, at + 1)
    if at < 0 or not content[at + _FLAGS_AT] & _INLINE:
        raise ValueError(f"{binary.name} has no build information that can be read")
    version, after = _string(content, at + _HEADER_BYTES)
    listed, _ = _string(content, after)
    rows = [line.split("\t") for line in listed[_MARK_BYTES:-_MARK_BYTES].decode().splitlines()]
    modules = [Module(*row[1:4]) for row in rows if row[0] in {"dep", "=>"} and len(row) == 4]
    if not modules:
        raise ValueError(f"{binary.name} names no modules")
    return version.decode().removeprefix("go"), modules


def _string(content: bytes, at: int) -> tuple[bytes, int]:
    """The string that begins at `at`, and where it ends."""
    length = shift = 0
    while True:
        byte = content[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return content[at : at + length], at + length
