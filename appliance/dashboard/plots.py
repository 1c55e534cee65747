"""Plots of a device's traffic: what it sent and received hour by hour, and minute by minute against its
limit."""

import msgspec

from appliance.gateway.gateway import Gateway
from appliance.model.device import Device
from appliance.store import device_figures
from appliance.store.device_figures import Tally

HEIGHT, STEP = 100, 20
"""The plots' own units: the height of the highest bar, and the width of one span of time."""
_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000


class Bar(msgspec.Struct, frozen=True):
    """The messages of one span of time, which begins at `at` (ms)."""

    at: int
    sent: int
    received: int


class Bars(msgspec.Struct, frozen=True):
    """Bars of equal spans, oldest first. `most` is what the full height stands for, `limit` where a line is
    drawn (None: nowhere), `name` the plot's own among those of a page."""

    name: str
    bars: list[Bar]
    most: int
    limit: int | None = None

    @property
    def width(self) -> int:
        return STEP * len(self.bars)

    @property
    def total(self) -> int:
        return sum(bar.sent + bar.received for bar in self.bars)

    def height(self, messages: int) -> float:
        """How high so many messages stand."""
        return round(messages * HEIGHT / self.most, 1)


async def traffic(gateway: Gateway, device: Device) -> list[Bars]:
    """The last day by the hour, and the last week by six hours."""
    day = await _counted(gateway, device, "day", _HOUR_MS, 24)
    return [day, await _counted(gateway, device, "week", 6 * _HOUR_MS, 28)]


async def send_rate(gateway: Gateway, device: Device) -> Bars:
    """What was accepted for sending in each minute of the last hour, beside the limit."""
    begin = _begin(gateway, _MINUTE_MS, 60)
    first = await gateway.reader.one(device_figures.first_since(begin)) or 0
    query = device_figures.accepted_by_minute(device.account_id, device.id, first, begin)
    limit = gateway.limits.limit or None
    return bars("rate", await gateway.reader.all(query), begin, _MINUTE_MS, 60, limit)


def bars(
    name: str, tallies: list[Tally], begin: int, span_ms: int, spans: int, limit: int | None = None
) -> Bars:
    """The tallies sorted into spans from `begin` (ms) on; what the clock dates later stands in the last."""
    sent, received = [0] * spans, [0] * spans
    for tally in tallies:
        place = min(max(0, (tally.begins_at - begin) // span_ms), spans - 1)
        side = sent if tally.from_me else received
        side[place] += tally.messages
    found = [Bar(begin + place * span_ms, sent[place], received[place]) for place in range(spans)]
    highest = max(bar.sent + bar.received for bar in found)
    return Bars(name, found, round_up(max(highest, limit or 0)), limit)


def round_up(value: int) -> int:
    """The next of 1, 2, 5, 10, 20, …, so that a scale can be read."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power >= value:
                return digit * power
        power *= 10


async def _counted(gateway: Gateway, device: Device, name: str, span_ms: int, spans: int) -> Bars:
    begin = _begin(gateway, span_ms, spans)
    first = await gateway.reader.one(device_figures.first_since(begin)) or 0
    query = device_figures.tallies(device.account_id, device.id, first, begin, span_ms)
    return bars(name, await gateway.reader.all(query), begin, span_ms, spans)


def _begin(gateway: Gateway, span_ms: int, spans: int) -> int:
    """When the first of so many spans began, the last being under way."""
    return (gateway.clock.now_ms() // span_ms - spans + 1) * span_ms
