"""A clock that a test turns by hand."""


class HandClock:
    """Starts at `now_ms`; `advance` moves wall and monotonic time, `jump` the wall alone."""

    def __init__(self, now_ms: int = 1_780_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic = 1000.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now_ms += int(seconds * 1000)
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """What a corrected wall clock does."""
        self._now_ms += int(seconds * 1000)
