"""Holds the process to the memory that it needs: the allocator gives back what is free, and after the start
the program's own files are mapped only where they are used."""

import contextlib
import ctypes
import gc
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_MADV_DONTNEED = 4
_NEVER_WRITTEN = {"r--p", "r-xp"}
# proc_pid_smaps(5): a line that begins a mapping, and the one that counts pages that are not the file's own.
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+)")
_OWN_PAGES = "Anonymous:"
BIG = 128 * 1024
"""Blocks of so many bytes are mapped one by one, and gone when they are freed."""


def hold() -> None:
    """To be called before any thread is started. Does nothing where the C library has no `mallopt`.

    Left alone, glibc raises its threshold to the largest block that was ever freed (mallopt(3)): after the
    first login argon2's 19 MiB come from the heap, where small blocks settle behind them. And each thread has
    an arena of its own, in which free memory helps nobody else; the threads here seldom run at once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, BIG)
        mallopt(_M_ARENA_MAX, 1)


def give_way() -> None:
    """Should memory run out, let the kernel end this process before those that did not say so
    (proc_pid_oom_score_adj(5)): a worker's device is back in a moment, without main there is nothing."""
    place = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):
        place.write_text(str(min(1000, int(place.read_text("ascii")) + 500)), "ascii")


Span = tuple[int, int]
"""The first address of a mapping, and the one after its last."""


def loaded() -> list[Span]:
    """Where the executable and its libraries are mapped, as far as every page is the file's own. Nothing
    where there is no /proc.

    To be called while no other thread loads a library: a half-loaded one would look as if all of it could be
    read again.
    """
    try:
        with Path("/proc/self/smaps").open(encoding="utf-8", errors="replace") as lines:
            return list(_clean_mappings(lines))
    except OSError:
        return []


def settle(program: Iterable[Span]) -> None:
    """To be called once the start is over, with what was `loaded`.

    The collector no longer looks at what the start made, which stays for good. And of the program every page
    that was touched once is let go: the kernel would keep them mapped, 25 MiB of them in the bundle, and
    spare them when memory gets scarce. What is used is mapped again at its next use, as a rule without
    reading it from the disk. Only where the same is mapped still: something else would lose what it holds.
    """
    gc.freeze()
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is not None:
        for start, end in set(program) & set(loaded()):
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def _clean_mappings(lines: Iterable[str]) -> Iterator[Span]:
    """The mappings in which every page is its file's and cannot have been written to: letting it go loses
    nothing. Where addresses were put right by the loader there are pages of its own."""
    mapping = None
    for line in lines:
        if found := _MAPPING.match(line):
            mapping = (int(found[1], 16), int(found[2], 16)) if _is_of_a_file(found) else None
        elif mapping is not None and line.startswith(_OWN_PAGES) and int(line.split()[1]) == 0:
            yield mapping


def _is_of_a_file(mapping: re.Match[str]) -> bool:
    return mapping[3] in _NEVER_WRITTEN and mapping[4] != "0"
