"""Prometheus' text format, read strictly: what a scrape says, or an AssertionError."""

import re
from typing import Self

_SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (-?[0-9.e+-]+|\+Inf)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
_PARTS = ("_bucket", "_sum", "_count")
Labels = dict[str, str]


class Scrape:
    """One answer of `/metrics`: `kinds` by family, and every sample."""

    def __init__(self, text: str) -> None:
        self.kinds: dict[str, str] = {}
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self._family = ""
        assert text.endswith("\n")
        for line in text.splitlines():
            self._take(line)
        for name, kind in self.kinds.items():
            if kind == "histogram":
                self._check_buckets(name)

    def value(self, name: str, **labels: str) -> float:
        """The sample with exactly those labels; 0 when there is none."""
        return self.samples.get((name, frozenset(labels.items())), 0)

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples with those labels among theirs."""
        return sum(
            value
            for (other, found), value in self.samples.items()
            if other == name and labels.items() <= dict(found).items()
        )

    def labels(self, family: str) -> set[str]:
        """The names of the labels that the family's samples carry."""
        return {
            key for (name, found), _ in self.samples.items() if self._is_of(name, family) for key, _ in found
        }

    def since(self, before: Self, name: str, **labels: str) -> float:
        """How far a counter rose."""
        return self.total(name, **labels) - before.total(name, **labels)

    def _take(self, line: str) -> None:
        if line.startswith("# HELP "):
            _, _, name, meaning = line.split(" ", 3)
            assert name not in self.kinds, f"{name} comes twice"
            assert meaning.endswith("."), line
            self._family = name
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == self._family
            self.kinds[name] = kind
        else:
            self._sample(line)

    def _sample(self, line: str) -> None:
        found = _SAMPLE.fullmatch(line)
        assert found is not None, line
        name, inside, value = found.groups()
        assert self._is_of(name, self._family), f"{name} stands among {self._family}"
        labels = _LABEL.findall(inside or "")
        assert _LABEL.sub("", inside or "") == "", line
        place = (name, frozenset(labels))
        assert place not in self.samples, f"twice: {line}"
        self.samples[place] = float(value)

    def _is_of(self, name: str, family: str) -> bool:
        return name == family or (
            self.kinds.get(family) == "histogram" and name.removeprefix(family) in _PARTS
        )

    def _check_buckets(self, name: str) -> None:
        series: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
        for (other, labels), value in self.samples.items():
            if other == name + "_bucket":
                rest = frozenset((key, text) for key, text in labels if key != "le")
                series.setdefault(rest, []).append((float(dict(labels)["le"]), value))
        for rest, buckets in series.items():
            counts = [count for _, count in sorted(buckets)]
            assert counts == sorted(counts), f"{name}: buckets are cumulative"
            assert counts[-1] == self.samples[name + "_count", rest]
