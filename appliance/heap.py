"""Holds glibc's allocator to memory that it can give back."""

import ctypes

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
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
