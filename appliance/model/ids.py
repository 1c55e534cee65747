"""Ids that look like cuids: `c` and 24 lower-case base36 characters."""

import os
import re
import time
from collections import deque

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_TIME_LENGTH = 9
_RANDOM_LENGTH = 15
_RANDOMS = 36**_RANDOM_LENGTH
ID = re.compile(r"c[0-9a-z]{24}\Z")

_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_BYTES, _AT_ONCE = 16, 256
_chance: deque[bytes] = deque()
"""Random bytes for the next ids. The system is asked for many at once: each time costs a turn of the
interpreter, for which another thread may wait. Threads take from it without a lock, and never the same."""
os.register_at_fork(after_in_child=_chance.clear)


def new_id() -> str:
    """A fresh id: nine characters of the time in ms, then 77 random bits, so that ids made later mostly
    sort later."""
    random = int.from_bytes(_some_chance()) % _RANDOMS
    left, text = time.time_ns() // 1_000_000 * _RANDOMS + random, ""
    for _ in range((_TIME_LENGTH + _RANDOM_LENGTH) // 2):
        left, pair = divmod(left, 1296)
        text = _PAIRS[pair] + text
    return "c" + text


def _some_chance() -> bytes:
    while True:
        try:
            return _chance.popleft()
        except IndexError:
            fresh = os.urandom(_BYTES * _AT_ONCE)
            _chance.extend(fresh[at : at + _BYTES] for at in range(0, len(fresh), _BYTES))


def is_id(text: str) -> bool:
    """Whether `text` has the shape of one of our ids (it may still name nothing)."""
    return ID.match(text) is not None
