"""The spool: what a worker could not get acknowledged before it had to end, in a file beside its session.

Once main is gone, or has said Stop, the worker writes what it holds first of all, and again whenever that has
changed until it ends: should somebody kill it meanwhile, nothing that it held is lost. An event that is told
twice because of that has its number, and counts once.

File: frames of length (u32), CRC-32 (u32) and the msgpack of a Told. It appears by rename, so a file of that
name is whole; a frame that fails its CRC (a torn disk) ends the reading, what stands before it counts.
"""

import logging
import os
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from appliance.engine.wire import Told

log = logging.getLogger(__name__)

_HEAD = struct.Struct(">II")
_decoder = msgspec.msgpack.Decoder(Told)

Mark = tuple[int, int, int]
"""An inode's number alone would not do: it is free again two spools later."""


def spool_file(folder: Path) -> Path:
    """Where the worker of that folder leaves its spool."""
    return folder / "spool"


class Spool:
    """One worker's hand on its folder's spool, for any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._earlier: list[bytes] | None = None
        self._kept: list[bytes] = []
        self._one_at_a_time = threading.Lock()

    def keep(self, bodies: list[bytes]) -> None:
        """Have exactly these encoded Told messages on the disk, after those of an earlier worker's spool that
        waited there the first time. Raises OSError; the spool of before is whole then."""
        with self._one_at_a_time:
            if bodies == self._kept:
                return
            if self._earlier is None:
                self._earlier = _present(self._folder)
            _write(self._folder, [*self._earlier, *bodies])
            self._kept = bodies


def mark_of(folder: Path) -> Mark | None:
    """What tells this spool from a later one of the same name; None when there is none."""
    try:
        stat = spool_file(folder).stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def read(folder: Path) -> list[Told]:
    """What waits there, oldest first; nothing when there is no spool."""
    return list(_decoded(_present(folder)))


def delete(folder: Path, mark: Mark | None) -> None:
    """Forget the spool, every event of it being committed; a later one (another mark) stays."""
    if mark is not None and mark_of(folder) == mark:
        spool_file(folder).unlink()
        _sync_folder(folder)


def _present(folder: Path) -> list[bytes]:
    try:
        return list(_bodies(spool_file(folder).read_bytes()))
    except FileNotFoundError:
        return []


def _write(folder: Path, bodies: list[bytes]) -> None:
    path = spool_file(folder)
    if bodies:
        draft = path.with_suffix(".new")
        with draft.open("wb") as file:
            for body in bodies:
                file.write(_HEAD.pack(len(body), zlib.crc32(body)) + body)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    else:
        path.unlink(missing_ok=True)
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
