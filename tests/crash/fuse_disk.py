"""A disk that remembers every write and every flush: one file, mounted by FUSE, for a loop device to lie on.

`python fuse_disk.py <file> <MiB> <log>` (as root) serves until it is unmounted. The log holds, for each
operation, HEAD (b"W" or b"F", the monotonic time in s, offset and length in bytes) and the data written. The
protocol is the kernel's include/uapi/linux/fuse.h, of which this speaks what one regular file needs.
"""

import ctypes
import errno
import os
import struct
import sys
import time
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

import msgspec

HEAD = struct.Struct("<cdQI")
WRITE, FLUSH = b"W", b"F"

_IN = struct.Struct("<IIQQIIII")
_OUT = struct.Struct("<IiQ")
_INIT_OUT = struct.Struct("<IIIIHHIIHHI28x")
_ATTR_OUT = struct.Struct("<QII6Q10I")
_OPEN_OUT = struct.Struct("<QII")
_RANGE_IN = struct.Struct("<QQIIQII")
_WRITE_OUT = struct.Struct("<II")


class _Operation(IntEnum):
    """The numbers of the requests that are answered."""

    GETATTR = 3
    SETATTR = 4
    OPEN = 14
    READ = 15
    WRITE = 16
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    DESTROY = 38


_UNANSWERED = {2, 36, 42}  # FORGET, INTERRUPT, BATCH_FORGET
_BIG_WRITES = 1 << 5
_LARGEST_WRITE = 128 * 1024
_REGULAR = 0o100600
_DETACH = 2


class BlockStep(msgspec.Struct, frozen=True):
    """One write, or a flush (no data) of everything before it; `at` is the monotonic time in s."""

    at: float
    offset: int
    data: bytes
    flush: bool


def steps(log: Path) -> Iterator[BlockStep]:
    """What the log holds, in order."""
    with log.open("rb") as file:
        while len(head := file.read(HEAD.size)) == HEAD.size:
            kind, at, offset, size = HEAD.unpack(head)
            yield BlockStep(at, offset, file.read(size), kind == FLUSH)


class FuseDisk:
    """The file's content in memory, and the log."""

    def __init__(self, size: int, log: BinaryIO) -> None:
        self._content = bytearray(size)
        self._log = log

    def serve(self, channel: int) -> None:
        """Answer the kernel until the file is unmounted."""
        while True:
            try:
                request = os.read(channel, _LARGEST_WRITE + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                raise
            _, operation, unique, *_ = _IN.unpack_from(request)
            if operation not in _UNANSWERED:
                code, body = self._answer(operation, memoryview(request)[_IN.size :])
                os.write(channel, _OUT.pack(_OUT.size + len(body), -code, unique) + body)

    def _answer(self, operation: int, body: memoryview) -> tuple[int, bytes]:
        """The error number, 0 for none, and what is answered."""
        match operation:
            case _Operation.INIT:
                return 0, self._init(body)
            case _Operation.GETATTR | _Operation.SETATTR:
                return 0, self._attributes()
            case _Operation.OPEN:
                return 0, _OPEN_OUT.pack(1, 0, 0)
            case _Operation.READ:
                return 0, self._read(body)
            case _Operation.WRITE:
                return 0, self._write(body)
            case _Operation.FSYNC:
                self._note(FLUSH, 0, b"")
                return 0, b""
            case _Operation.RELEASE | _Operation.FLUSH | _Operation.DESTROY:
                return 0, b""
        return errno.ENOSYS, b""

    def _init(self, body: memoryview) -> bytes:
        major, minor, read_ahead, flags = struct.unpack_from("<IIII", body)
        return _INIT_OUT.pack(
            major, min(minor, 31), read_ahead, flags & _BIG_WRITES, 16, 12, _LARGEST_WRITE, 1, 0, 0, 0
        )

    def _attributes(self) -> bytes:
        size = len(self._content)
        return _ATTR_OUT.pack(60, 0, 0, 1, size, size // 512, *(0,) * 6, _REGULAR, 1, 0, 0, 0, 4096, 0)

    def _read(self, body: memoryview) -> bytes:
        _, offset, size, *_ = _RANGE_IN.unpack_from(body)
        return bytes(self._content[offset : offset + size])

    def _write(self, body: memoryview) -> bytes:
        _, offset, size, *_ = _RANGE_IN.unpack_from(body)
        data = bytes(body[_RANGE_IN.size : _RANGE_IN.size + size])
        self._content[offset : offset + size] = data
        self._note(WRITE, offset, data)
        return _WRITE_OUT.pack(size, 0)

    def _note(self, kind: bytes, offset: int, data: bytes) -> None:
        self._log.write(HEAD.pack(kind, time.monotonic(), offset, len(data)) + data)


def mount(path: Path) -> int:
    """Mount a disk on that file; returns the channel to serve. Raises OSError."""
    channel = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={channel},rootmode={_REGULAR:o},user_id=0,group_id=0"
    _checked(_libc().mount(b"disk", os.fsencode(path), b"fuse", 0, options.encode()))
    return channel


def unmount(path: Path) -> None:
    """Unmount it, also while it is in use. Raises OSError."""
    _checked(_libc().umount2(os.fsencode(path), _DETACH))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    target, mebibytes, log_path = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    with log_path.open("wb", buffering=0) as opened:
        disk = FuseDisk(mebibytes << 20, opened)
        fd = mount(target)
        print("mounted", flush=True)
        disk.serve(fd)
