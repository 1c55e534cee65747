"""The spool: what a worker could not get acknowledged before it had to end, in a file beside its session.

File: frames of length (u32), CRC-32 (u32) and the msgpack of a Told. It appears by rename, so a file of that
name is whole; a frame that fails its CRC (a torn disk) ends the reading, what stands before it counts.
"""

import logging
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from appliance.engine.wire import Told

log = logging.getLogger(__name__)

_HEAD = struct.Struct(">II")
_decoder = msgspec.msgpack.Decoder(Told)


def spool_file(folder: Path) -> Path:
    """Where the worker of that folder leaves its spool."""
    return folder / "spool"


def write(folder: Path, bodies: Iterable[bytes]) -> None:
    """Put the encoded Told messages on the disk, after those of an earlier spool that still waits."""
    path = spool_file(folder)
    earlier = list(_bodies(path.read_bytes())) if path.exists() else []
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        for body in (*earlier, *bodies):
            file.write(_HEAD.pack(len(body), zlib.crc32(body)) + body)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync_folder(folder)


def mark_of(folder: Path) -> int:
    """What tells this spool from a later one of the same name; 0 when there is none."""
    try:
        return spool_file(folder).stat().st_ino
    except FileNotFoundError:
        return 0


def read(folder: Path) -> list[Told]:
    """What waits there, oldest first; nothing when there is no spool."""
    try:
        data = spool_file(folder).read_bytes()
    except FileNotFoundError:
        return []
    return list(_decoded(_bodies(data)))


def delete(folder: Path, mark: int) -> None:
    """Forget the spool, every event of it being committed; a later one (another mark) stays."""
    if mark and mark_of(folder) == mark:
        spool_file(folder).unlink()
        _sync_folder(folder)


def _decoded(bodies: Iterable[bytes]) -> Iterator[Told]:
    for body in bodies:
        try:
            yield _decoder.decode(body)
        except msgspec.DecodeError as error:  # written by a version that spoke differently
            log.error("spooled_event_unreadable", extra={"error": type(error).__name__})


def _bodies(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + _HEAD.size <= len(data):
        size, crc = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + size]
        if len(body) < size or zlib.crc32(body) != crc:
            return
        yield body
        at += _HEAD.size + size


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
