"""Counting what happens: tallies by label, and spreads of values over buckets. They only ever rise, and begin
anew with the process."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence


def yes_or_no(fact: bool) -> str:
    """A fact as a label."""
    return "true" if fact else "false"


class Tally:
    """How often something happened, by the labels it happened under. One thread adds, any may read.

    `expected` labels begin at 0: whoever watches a counter would take its first value for its beginning.
    """

    __slots__ = ("_counts",)

    def __init__(self, *expected: tuple[str, ...]) -> None:
        self._counts: dict[tuple[str, ...], int] = dict.fromkeys(expected, 0)

    def add(self, *labels: str, by: int = 1) -> None:
        self._counts[labels] = self._counts.get(labels, 0) + by

    def of(self, *labels: str) -> int:
        return self._counts.get(labels, 0)

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], int]]:
        return iter(sorted(self._counts.items()))


class Spread:
    """How many values fell between `bounds` (rising; the last bucket has no end), and their sum. One thread
    notes, any may read."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def note(self, value: float) -> None:
        """A value equal to a bound belongs below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
