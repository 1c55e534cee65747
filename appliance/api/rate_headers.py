"""The headers that tell a sender how much of its device's rate limit is left."""

from typing import Any

from litestar import Request

from appliance.gateway.gateway import Gateway
from appliance.gateway.limits import WINDOW_S

Headers = list[tuple[bytes, bytes]]


def announce(request: Request[Any, Any, Any], gateway: Gateway, device_id: str) -> None:
    """Have the answer, whatever it will be, carry the limit's state at the moment it is sent."""
    request.scope["state"]["rate_headers"] = lambda: headers(gateway, device_id)


def headers(gateway: Gateway, device_id: str) -> Headers:
    """`X-RateLimit-*`, and the IETF draft's `RateLimit` and `RateLimit-Policy`; none when the limit is
    off."""
    rate = gateway.limits.state(device_id)
    if rate.limit <= 0:
        return []
    wait_s = max(0, int(rate.reset_at - gateway.clock.now_ms() / 1000))
    return [
        (b"x-ratelimit-limit", b"%d" % rate.limit),
        (b"x-ratelimit-remaining", b"%d" % rate.remaining),
        (b"x-ratelimit-reset", b"%d" % rate.reset_at),
        (b"ratelimit-policy", b'"messages";q=%d;w=%d' % (rate.limit, WINDOW_S)),
        (b"ratelimit", b'"messages";r=%d;t=%d' % (rate.remaining, wait_s)),
    ]
