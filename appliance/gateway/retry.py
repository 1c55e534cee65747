"""When a webhook delivery is tried again, and what an answer means for it: functions of time and chance.

The seven days of a delivery are days in which it could be tried: they begin with its first failed attempt,
and neither a gateway that was off nor a clock that was set uses them up.
"""

import random
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum

SCHEDULE_S: Sequence[int] = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 43200)
DAY_S = 86_400
JITTER = 0.2
GIVE_UP_AFTER_S = 7 * DAY_S


class Outcome(StrEnum):
    """What the answer to one attempt means."""

    DELIVERED = "delivered"
    """The receiver took it: any 2xx, or a 302 where the endpoint counts that as success."""
    RETRY = "retry"
    """Anything else, no answer included: try again by the schedule."""
    STOP_ENDPOINT = "stop_endpoint"
    """410 Gone: the receiver wants nothing more on this endpoint."""


def classify(status: int | None, *, redirect_is_success: bool = False) -> Outcome:
    """The outcome of an attempt answered with HTTP `status`, or not answered at all (None)."""
    if status is None:
        return Outcome.RETRY
    if 200 <= status < 300 or (status == 302 and redirect_is_success):
        return Outcome.DELIVERED
    return Outcome.STOP_ENDPOINT if status == 410 else Outcome.RETRY


def delay_s(attempt: int, jitter: random.Random) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): by the schedule, then daily, ± 20 %."""
    base = SCHEDULE_S[attempt - 1] if attempt <= len(SCHEDULE_S) else DAY_S
    return base * jitter.uniform(1 - JITTER, 1 + JITTER)


def retry_after_s(header: str | None, now_s: float) -> float:
    """Seconds that a `Retry-After` header asks for, 0 to a day; 0 when it is absent or cannot be read.

    Both forms of RFC 9110 §10.2.3 are read: seconds, and an HTTP date.
    """
    text = (header or "").strip()
    asked = _seconds(text) if text.isdecimal() and text.isascii() else _seconds_until(text, now_s)
    return min(max(asked, 0.0), DAY_S)


def counted_from(failing_since_ms: int | None, *, due_at_ms: int, trying_since_ms: int, at_ms: int) -> int:
    """Where the seven days begin (ms), seen from a failed attempt at `at_ms`, due at `due_at_ms`.

    With the first one (`failing_since_ms` None). They move on by the time from when it was due until the
    endpoint has been tried at all again, `trying_since_ms`: the gateway was off, the endpoint disabled, or
    the clock was set ahead. Waiting behind other deliveries counts. They never begin in the future.
    """
    if failing_since_ms is None:
        return at_ms
    return min(at_ms, failing_since_ms + max(0, trying_since_ms - due_at_ms))


def gives_up_at(counted_from_ms: int) -> int:
    """When (ms) the last attempt is due."""
    return counted_from_ms + GIVE_UP_AFTER_S * 1000


def next_due(
    attempt: int,
    *,
    counted_from_ms: int,
    now_ms: int,
    jitter: random.Random,
    retry_after: str | None = None,
) -> int | None:
    """When (ms) to try again after failed attempt number `attempt`, or None when the delivery is dead.

    A `Retry-After` can only make the wait longer. Seven days after `counted_from_ms` one last attempt is due,
    whatever the wait; the attempt that fails then, or later, is the last.
    """
    last_at_ms = gives_up_at(counted_from_ms)
    if now_ms >= last_at_ms:
        return None
    wait_s = max(delay_s(attempt, jitter), retry_after_s(retry_after, now_ms / 1000))
    return min(now_ms + round(wait_s * 1000), last_at_ms)


def _seconds(text: str) -> float:
    # Longer than ten digits is over a day in any case; int() refuses some thousands of them.
    return float(int(text[:10])) if len(text) <= 10 else float(DAY_S)


def _seconds_until(text: str, now_s: float) -> float:
    try:
        moment = parsedate_to_datetime(text)
        # An HTTP date is always GMT, also when it is written without a zone.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now_s
    except (ValueError, OverflowError):
        return 0.0
