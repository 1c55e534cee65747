"""The clock as a part that is handed in, so that a test can turn it."""

from typing import Protocol


class Clock(Protocol):
    """Wall time for people and rows, monotonic time for limits and deadlines."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump; only differences mean anything."""
        ...
