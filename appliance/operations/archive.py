"""What is inside a backup: a tar archive whose last member lists the SHA-256 of all others, as `sha256sum`
reads it.

Written and read as a stream, member after member: tarfile's own classes keep every member in memory.
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

import msgspec

SUMS = "SHA256SUMS"
BLOCK = 256 * 1024
_UNIT = tarfile.BLOCKSIZE
_END = bytes(2 * _UNIT)


class ArchiveDamaged(Exception):
    """What came is no archive of ours, or not all of it."""


class Sink(Protocol):
    """Where an archive goes."""

    def write(self, data: bytes, /) -> object: ...


class Source(Protocol):
    """Where bytes come from: `read` gives as many as are asked for, fewer only at the end."""

    def read(self, size: int, /) -> bytes: ...


class Member(msgspec.Struct, frozen=True):
    """A member as it passes by: `blocks` are its `size` bytes, to be taken before the next member."""

    name: str
    size: int
    blocks: Iterator[bytes]


class ArchiveWriter:
    """Writes members to `out`. The list of their sums waits in the file `sums`: there may be very many."""

    def __init__(self, out: Sink, sums: BinaryIO) -> None:
        self._out = out
        self._sums = sums

    def add(self, name: str, file: Source, size: int, told: Callable[[int], None]) -> None:
        """Add `size` bytes of the file; `told` is called with each number of bytes that went. Raises OSError,
        ArchiveDamaged when there are fewer."""
        self._sums.write(_sum_line(name, self._copy(name, file, size, told)))

    def finish(self) -> None:
        """Add the list and the end: an archive without them is not whole. Raises OSError."""
        size = self._sums.tell()
        self._sums.seek(0)
        self._copy(SUMS, self._sums, size, lambda _: None)
        self._out.write(_END)

    def _copy(self, name: str, file: Source, size: int, told: Callable[[int], None]) -> bytes:
        self._out.write(_head(name, size))
        digest = hashlib.sha256()
        for block in _blocks(file, size):
            digest.update(block)
            self._out.write(block)
            told(len(block))
        self._out.write(bytes(-size % _UNIT))
        return digest.digest()


def members(source: Source) -> Iterator[Member]:
    """Every member but the list of sums, in order. Only when the iteration has ended is all of it known to be
    there and to have the sums listed. Raises ArchiveDamaged, and what `source` raises."""
    listed = hashlib.sha256()
    while True:
        name, size = _read_head(source)
        if name == SUMS:
            break
        digest = hashlib.sha256()
        blocks = _passing(_blocks(source, size), digest.update)
        yield Member(name, size, blocks)
        for _ in blocks:  # what nobody wanted counts too
            pass
        _skip_padding(source, size)
        listed.update(_sum_line(name, digest.digest()))
    _check_list(source, size, listed.digest())
    if source.read(len(_END) + 1) != _END:
        raise ArchiveDamaged("the archive does not end where it should")


def _check_list(source: Source, size: int, wanted: bytes) -> None:
    found = hashlib.sha256()
    for block in _blocks(source, size):
        found.update(block)
    _skip_padding(source, size)
    if found.digest() != wanted:
        raise ArchiveDamaged("a file in the archive is not what its sum says")


def _passing(blocks: Iterator[bytes], see: Callable[[bytes], object]) -> Iterator[bytes]:
    for block in blocks:
        see(block)
        yield block


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    made = info.tobuf(tarfile.GNU_FORMAT)
    if len(made) != _UNIT:
        raise ValueError(f"{name}: too long a name")
    return made


def _read_head(source: Source) -> tuple[str, int]:
    """The next member's name and size."""
    raw = source.read(_UNIT)
    try:
        info = tarfile.TarInfo.frombuf(raw, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise ArchiveDamaged(f"the archive stops making sense: {error}") from None
    if not info.isreg() or info.size < 0:
        raise ArchiveDamaged(f"{info.name}: not a file")
    return info.name, info.size


def _blocks(file: Source, size: int) -> Iterator[bytes]:
    while size > 0:
        block = file.read(min(size, BLOCK))
        if not block:
            raise ArchiveDamaged("a file is shorter than it was said to be")
        size -= len(block)
        yield block


def _skip_padding(source: Source, size: int) -> None:
    if len(source.read(-size % _UNIT)) != -size % _UNIT:
        raise ArchiveDamaged("the archive was cut short")


def _sum_line(name: str, digest: bytes) -> bytes:
    return f"{digest.hex()}  {name}\n".encode()
