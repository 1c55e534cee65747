"""The retry schedule, Retry-After and the end after seven days."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.gateway.retry import Outcome, classify, delay_s, next_due, retry_after_s

# A busy machine is not a failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

DAY_MS = 86_400_000
CREATED = 1_746_480_000_000
SCHEDULE = [5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 43200, 86400, 86400]


class Middle(random.Random):
    """Chance that always falls in the middle: no jitter."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


@pytest.mark.parametrize(("attempt", "seconds"), [*enumerate(SCHEDULE, start=1), (500, 86400)])
def test_the_schedule(attempt: int, seconds: int) -> None:
    assert delay_s(attempt, Middle()) == pytest.approx(seconds)


@unhurried
@given(st.integers(1, 20), st.integers())
def test_the_jitter_is_at_most_a_fifth(attempt: int, seed: int) -> None:
    middle = delay_s(attempt, Middle())
    assert middle * 0.8 <= delay_s(attempt, random.Random(seed)) <= middle * 1.2


def test_the_jitter_spreads() -> None:
    dice = random.Random(1)
    waits = [delay_s(1, dice) for _ in range(1000)]
    assert min(waits) < 4.05
    assert max(waits) > 5.95


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("86401", 86400),
        ("9" * 10_000, 86400),
        ("-5", 0),
        ("1.5", 0),
        ("١٢", 0),
        ("soon", 0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60),
        ("Sun Nov  6 08:50:37 1994", 60),
        ("Sun, 06 Nov 1994 08:50:37", 60),
        ("Mon, 06 Nov 2094 08:49:37 GMT", 86400),
        ("Mon, 99 Nov 2094 08:49:37 GMT", 0),
        ("Sun, 06 Nov 99999999999999 08:49:37 GMT", 0),
        ("Mon, 06 Nov 1994 25:61:61 +9999999999", 0),
    ],
)
def test_retry_after(header: str | None, seconds: float) -> None:
    now_s = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()
    assert retry_after_s(header, now_s) == seconds


@unhurried
@given(
    st.text(max_size=60) | st.from_regex(r"\w{3}, \d{2} \w{3} \d{1,5} \d\d:\d\d:\d\d \S{0,8}"),
    st.floats(0, 4e9),
)
def test_no_retry_after_header_breaks_anything(header: str, now_s: float) -> None:
    assert 0 <= retry_after_s(header, now_s) <= 86400


@pytest.mark.parametrize(
    ("status", "redirect_is_success", "outcome"),
    [
        (200, False, Outcome.DELIVERED),
        (204, False, Outcome.DELIVERED),
        (299, False, Outcome.DELIVERED),
        (199, False, Outcome.RETRY),
        (301, True, Outcome.RETRY),
        (302, False, Outcome.RETRY),
        (302, True, Outcome.DELIVERED),
        (307, True, Outcome.RETRY),
        (400, False, Outcome.RETRY),
        (404, False, Outcome.RETRY),
        (410, False, Outcome.STOP_ENDPOINT),
        (410, True, Outcome.STOP_ENDPOINT),
        (429, False, Outcome.RETRY),
        (503, False, Outcome.RETRY),
        (None, True, Outcome.RETRY),
    ],
)
def test_what_an_answer_means(status: int | None, redirect_is_success: bool, outcome: Outcome) -> None:
    assert classify(status, redirect_is_success=redirect_is_success) is outcome


def test_the_next_attempt_is_due_after_the_delay() -> None:
    assert next_due(1, counted_from_ms=CREATED, now_ms=CREATED + 20, jitter=Middle()) == CREATED + 5_020


@pytest.mark.parametrize(
    ("header", "wait_ms"), [("60", 60_000), ("1", 5_000), ("999999", DAY_MS), ("soon", 5_000)]
)
def test_retry_after_only_makes_the_wait_longer(header: str, wait_ms: int) -> None:
    due = next_due(1, counted_from_ms=CREATED, now_ms=CREATED, jitter=Middle(), retry_after=header)
    assert due == CREATED + wait_ms


def test_one_last_attempt_after_seven_days_then_dead() -> None:
    end = CREATED + 7 * DAY_MS
    assert next_due(15, counted_from_ms=CREATED, now_ms=end - 1, jitter=Middle()) == end
    assert next_due(16, counted_from_ms=CREATED, now_ms=end, jitter=Middle()) is None
    assert next_due(2, counted_from_ms=CREATED, now_ms=end + DAY_MS, jitter=Middle()) is None


@unhurried
@given(st.integers())
def test_an_endpoint_that_is_down_gets_all_attempts_until_the_end(seed: int) -> None:
    dice = random.Random(seed)
    now, attempts = CREATED, 1
    while (due := next_due(attempts, counted_from_ms=CREATED, now_ms=now, jitter=dice)) is not None:
        assert due > now
        now, attempts = due, attempts + 1
    assert now == CREATED + 7 * DAY_MS
    assert 15 <= attempts <= 20


def test_a_clock_that_went_back_makes_no_storm() -> None:
    now = CREATED - 3650 * DAY_MS
    assert next_due(1, counted_from_ms=CREATED, now_ms=now, jitter=Middle()) == now + 5_000
