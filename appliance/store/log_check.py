"""Whether the write-ahead log has a hole: SQLite reads it up to the first frame that is not whole and
silently forgets what follows.

That is right for a commit that was cut off. When two or more commits stand behind the broken place, or when
the index of the log (which outlives a killed process) counts more frames than there are, something that was
already forced to disk is gone. Formats: https://www.sqlite.org/fileformat2.html#walformat and
https://www.sqlite.org/walformat.html
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_COUNT = struct.Struct("=I")
_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
_CUT_OFF = 1
"""Commits that may stand behind the end without anything being lost: the one that was being written."""

Sums = tuple[int, int]


class _Frame(NamedTuple):
    is_whole: bool
    is_commit: bool


def log_damage(log_file: Path) -> str | None:
    """What is wrong with the log, None when nothing is (or when there is none). Nobody may have the database
    open. Raises OSError."""
    try:
        data = log_file.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) <= _HEADER.size or not any(data[: _HEADER.size]):
        return None
    magic, _, page_size, *_ = _HEADER.unpack_from(data)
    order = _MAGIC.get(magic)
    if order is None or _sums(data[:24], order, (0, 0)) != _HEADER.unpack_from(data)[6:8]:
        return "its header is damaged, and nothing in it can be read"
    behind = whole_frames = 0
    whole = True
    for frame in _frames(data, page_size, order):
        whole = whole and frame.is_whole
        whole_frames += whole
        behind += frame.is_commit and not whole
    if behind > _CUT_OFF:
        return f"at least {behind} commits stand behind a damaged place"
    gone = _indexed(log_file, data[16:24]) - whole_frames
    return f"{gone} frames are gone from its end" if gone > 0 else None


def _indexed(log_file: Path, salts: bytes) -> int:
    """How many frames the index counts, 0 when it is of another round of the log."""
    index = log_file.with_name(log_file.name.removesuffix("-wal") + "-shm")
    try:
        with index.open("rb") as file:
            header = file.read(48)
    except FileNotFoundError:
        return 0
    return _COUNT.unpack_from(header, 16)[0] if header[32:40] == salts else 0


def _frames(data: bytes, page_size: int, order: str) -> Iterator[_Frame]:
    """The frames that belong to this log, whole or not: those with its salts. What an earlier round of the
    log left behind has others."""
    header = _HEADER.unpack_from(data)
    salts, sums = header[4:6], header[6:8]
    size = _FRAME.size + page_size
    whole = True
    for at in range(_HEADER.size, len(data) - size + 1, size):
        _, pages, *rest = _FRAME.unpack_from(data, at)
        if whole:
            sums = _sums(data[at : at + 8] + data[at + _FRAME.size : at + size], order, sums)
            whole = tuple(rest) == (*salts, *sums)
        if tuple(rest[:2]) == salts:
            yield _Frame(whole, pages > 0)
        elif whole:
            return


def _sums(data: bytes, order: str, start: Sums) -> Sums:
    first, second = start
    for a, b in struct.iter_unpack(f"{order}2I", data):
        first = (first + a + second) & 0xFFFFFFFF
        second = (second + b + first) & 0xFFFFFFFF
    return first, second
