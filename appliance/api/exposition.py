"""Prometheus' text format, version 0.0.4: families of samples, each with a line of help and its type.

From https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, Literal, TypeVar

from appliance.model.tally import Spread, Tally

CONTENT_TYPE = "text/plain; version=0.0.4"
PREFIX = "wa_gateway_"

S = TypeVar("S")
Samples = Mapping[tuple[str, ...], float]
Reading = float | Tally | Spread | Samples | Mapping[tuple[str, ...], Spread] | None


@dataclass(frozen=True, slots=True)
class Family(Generic[S]):
    """One metric: its name after the prefix, what it means, and how it is read from a source. A reading that
    is None is left out."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    read: Callable[[S], Reading]
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return PREFIX + self.name


def text(families: Iterable[Family[S]], source: S) -> str:
    """The answer to a scrape."""
    return "".join(line for family in families for line in _lines(family, family.read(source)))


def _lines(family: Family[S], reading: Reading) -> Iterator[str]:
    if reading is None:
        return
    yield f"# HELP {family.full_name} {family.meaning}\n"
    yield f"# TYPE {family.full_name} {family.kind}\n"
    for values, sample in _samples(reading):
        labels = dict(zip(family.labels, values, strict=True))
        if isinstance(sample, Spread):
            yield from _spread(family.full_name, labels, sample)
        else:
            yield _line(family.full_name, labels, sample)


def _samples(reading: Reading) -> Iterable[tuple[tuple[str, ...], float | Spread]]:
    match reading:
        case Tally():
            return reading
        case Mapping():
            return reading.items()
        case int() | float() | Spread():
            return [((), reading)]
    return []


def _spread(name: str, labels: Mapping[str, str], spread: Spread) -> Iterator[str]:
    bounds = [*(f"{bound:g}" for bound in spread.bounds), "+Inf"]
    upto = list(accumulate(spread.counts))
    for bound, count in zip(bounds, upto, strict=True):
        yield _line(name + "_bucket", {**labels, "le": bound}, count)
    yield _line(name + "_sum", labels, spread.total)
    yield _line(name + "_count", labels, upto[-1])


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
    return f"{name}{{{inside}}} {_number(value)}\n" if inside else f"{name} {_number(value)}\n"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(round(value, 6))
