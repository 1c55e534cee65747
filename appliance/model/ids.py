"""Ids that look like cuids: `c` and 24 lower-case base36 characters."""

import re
import secrets
import time

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_TIME_LENGTH = 9
_RANDOM_LENGTH = 15
_RANDOMS = 36**_RANDOM_LENGTH
ID = re.compile(r"c[0-9a-z]{24}\Z")


def new_id() -> str:
    """A fresh id: nine characters of the time in ms, then 77 random bits, so that ids made later mostly
    sort later."""
    left, text = time.time_ns() // 1_000_000 * _RANDOMS + secrets.randbelow(_RANDOMS), ""
    for _ in range(_TIME_LENGTH + _RANDOM_LENGTH):
        left, digit = divmod(left, 36)
        text = _ALPHABET[digit] + text
    return "c" + text


def is_id(text: str) -> bool:
    """Whether `text` has the shape of one of our ids (it may still name nothing)."""
    return ID.match(text) is not None
