"""Endpoints that have been failing for days: nothing pauses them, so that somebody has to be told."""

import logging
from collections.abc import Sequence

from appliance.gateway.retry import DAY_S, GIVE_UP_AFTER_S
from appliance.model.webhook import Endpoint, EndpointStatus
from appliance.store.delivery_queue import Work

log = logging.getLogger(__name__)

LOUD_AFTER_MS = 5 * DAY_S * 1000
"""Two days are left then until the first deliveries are given up."""


class DeliveryAlarm:
    """Logs `webhook_failing_for_days` once a day for each endpoint that has been failing for five days, and
    at every start."""

    def __init__(self) -> None:
        self._again_at: dict[str, float] = {}

    def ring(self, works: Sequence[Work], now_ms: int, now_s: float) -> None:
        """Look at every endpoint; `now_s` is monotonic."""
        loud = {
            work.endpoint_id: now_ms - work.failing_since
            for work in works
            if work.failing_since is not None and now_ms - work.failing_since >= LOUD_AFTER_MS
        }
        self._again_at = {known: at for known, at in self._again_at.items() if known in loud}
        for endpoint_id, for_ms in loud.items():
            if now_s >= self._again_at.get(endpoint_id, now_s):
                self._again_at[endpoint_id] = now_s + DAY_S
                days = for_ms // (DAY_S * 1000)
                log.warning("webhook_failing_for_days", extra={"endpoint_id": endpoint_id, "days": days})


def gives_up_at(endpoint: Endpoint) -> int | None:
    """When (ms) the first deliveries to a failing endpoint are given up, unless it takes one before; None for
    one that is not failing."""
    if endpoint.status is not EndpointStatus.FAILING or endpoint.failing_since is None:
        return None
    return endpoint.failing_since + GIVE_UP_AFTER_S * 1000


def status_reason(endpoint: Endpoint, now_ms: int) -> str | None:
    """In words: why it stopped, or for how many days nothing has got through, from the fifth day on."""
    since = endpoint.failing_since
    if since is None or now_ms - since < LOUD_AFTER_MS:
        return endpoint.status_reason
    return (
        f"Nothing has got through for {(now_ms - since) // (DAY_S * 1000)} days. A delivery is given up "
        "after 7 days of trying; it stays listed and can be replayed."
    )
