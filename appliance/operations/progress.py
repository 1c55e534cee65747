"""How far a long command has come, on stderr: a line that is rewritten on a terminal, else one every ten per
cent, and nothing of what is over at once."""

import sys
import time
from typing import TextIO

_EVERY_S = 0.25
_MIB = 1024 * 1024
_OVER_AT_ONCE = 8 * _MIB
"""Bytes: less than this is done before anybody wonders."""


class Progress:
    """Counts bytes of `total` (0: not known) of what is being done, `what`."""

    def __init__(self, what: str, total: int, out: TextIO | None = None) -> None:
        self._what = what
        self._total = total
        self._out = out or sys.stderr
        self._is_live = self._out.isatty()
        self._is_silent = 0 < total < _OVER_AT_ONCE
        self._done = 0
        self._next_at = 0.0
        self._next_tenth = 1
        if not self._is_live:
            self._line(f"{what} …")

    def advance(self, size: int) -> None:
        """That many bytes more are done."""
        self._done += size
        if self._is_live:
            if time.monotonic() >= self._next_at:
                self._next_at = time.monotonic() + _EVERY_S
                self._rewrite()
        elif self._total and self._done * 10 >= self._total * self._next_tenth:
            self._next_tenth = self._done * 10 // self._total + 1
            self._line(self._state())

    def finish(self) -> None:
        """It is done; on a terminal the line stays as it is."""
        self._total = self._total and self._done
        if self._is_live:
            self._rewrite()
            self._line("")

    def _state(self) -> str:
        share = f" {min(100, self._done * 100 // self._total)} %" if self._total else ""
        return f"{self._what}:{share} {megabytes(self._done)}"

    def _rewrite(self) -> None:
        if self._is_silent:
            return
        self._out.write(f"\r\x1b[K{self._state()}")
        self._out.flush()

    def _line(self, text: str) -> None:
        if self._is_silent:
            return
        self._out.write(f"{text}\n")
        self._out.flush()


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / _MIB:.1f} MiB"
