"""How long to wait before a session is tried again."""

import random

FIRST_S = 0.2
LONGEST_S = 60.0
STABLE_S = 300.0


class Backoff:
    """Doubles from 0.2 s to 60 s, with ± 25 % so that many devices do not come back in step."""

    def __init__(self) -> None:
        self._failures = 0

    def next_s(self, lasted_s: float) -> float:
        """The wait after a session that had lasted `lasted_s`; one that was stable starts from the
        beginning."""
        if lasted_s >= STABLE_S:
            self._failures = 0
        base = min(LONGEST_S, FIRST_S * 2.0 ** min(self._failures, 12))
        self._failures += 1
        return base * random.uniform(0.75, 1.25)  # noqa: S311 (spreading load, not a secret)

    def slow(self) -> None:
        """Go straight to the longest wait: trying soon would do harm."""
        self._failures = 12
