"""Two plots of a webhook's last day, hour by hour: what got through and what failed, and how long it took."""

import math

import msgspec
from markupsafe import Markup

from appliance.dashboard.pages import Pages, Part
from appliance.dashboard.visitor import Visitor
from appliance.gateway.gateway import Gateway
from appliance.model.webhook import Endpoint
from appliance.store import endpoint_health
from appliance.store.endpoint_health import Tried

HOURS = 24
HOUR_MS = 3600 * 1000
STEP, HEIGHT = 20, 100
"""The plots' own units: the width of an hour, and the height of the highest value."""


class Hour(msgspec.Struct, frozen=True):
    """One hour's attempts: from `at` (ms) on; `p50` and `p95` in ms, None when nothing was tried."""

    at: int
    delivered: int
    failed: int
    p50: int | None
    p95: int | None


class Plot(msgspec.Struct, frozen=True):
    """The hours, oldest first, with the scales of both plots."""

    hours: list[Hour]
    most: int
    slowest: int

    def height(self, value: int) -> float:
        """How high so many attempts stand."""
        return round(value * HEIGHT / self.most, 1)

    def level(self, duration_ms: int) -> float:
        """How far from the top so long an attempt stands."""
        return round(HEIGHT - duration_ms * HEIGHT / self.slowest, 1)

    def dots(self, name: str) -> list[tuple[float, float]]:
        """The points of the line `p50` or `p95`, where there are any."""
        values = [(place, getattr(hour, name)) for place, hour in enumerate(self.hours)]
        return [((place + 0.5) * STEP, self.level(value)) for place, value in values if value is not None]


async def delivery_plots(gateway: Gateway, pages: Pages, visitor: Visitor, endpoint: Endpoint) -> Markup:
    """Both plots as HTML; empty when nothing was tried."""
    begin = (gateway.clock.now_ms() // HOUR_MS - HOURS + 1) * HOUR_MS
    tried = await gateway.reader.all(endpoint_health.tried(endpoint.account_id, endpoint.id, begin))
    if not tried:
        return Markup()
    values = {"plot": plot(tried, begin), "step": STEP, "height": HEIGHT, "width": STEP * HOURS}
    return pages.still(visitor, Part("_delivery_plots.html", values))


def plot(tried: list[Tried], begin: int) -> Plot:
    """The attempts sorted into the hours from `begin` (ms) on."""
    slots: list[list[Tried]] = [[] for _ in range(HOURS)]
    for each in tried:
        slots[min(max(0, (each.at - begin) // HOUR_MS), HOURS - 1)].append(each)
    hours = [_hour(slot, begin + place * HOUR_MS) for place, slot in enumerate(slots)]
    return Plot(
        hours=hours,
        most=_round_up(max(hour.delivered + hour.failed for hour in hours)),
        slowest=_round_up(max(hour.p95 or 0 for hour in hours)),
    )


def _hour(tried: list[Tried], at: int) -> Hour:
    durations = sorted(each.duration_ms for each in tried)
    delivered = sum(each.delivered for each in tried)
    return Hour(
        at=at,
        delivered=delivered,
        failed=len(tried) - delivered,
        p50=_percentile(durations, 0.5),
        p95=_percentile(durations, 0.95),
    )


def _percentile(ordered: list[int], share: float) -> int | None:
    """The nearest rank: a value that was really measured."""
    return ordered[math.ceil(len(ordered) * share) - 1] if ordered else None


def _round_up(value: int) -> int:
    """The next of 1, 2, 5, 10, 20, …, so that the scale can be read."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power >= value:
                return digit * power
        power *= 10
