"""The token buckets: never more than the limit in any minute, whatever the wall clock does."""

import random

import pytest
from clock import HandClock

from appliance.gateway.limits import LimitSettings, RateLimits
from appliance.model.errors import RateLimited


def limits(clock: HandClock, per_minute: int = 30) -> RateLimits:
    return RateLimits(clock, LimitSettings(messages_per_minute=per_minute))


def test_the_thirty_first_in_a_minute_is_refused_and_says_when() -> None:
    clock = HandClock()
    buckets = limits(clock)
    for _ in range(30):
        buckets.take("a")
    clock.advance(20)
    with pytest.raises(RateLimited) as refusal:
        buckets.take("a")
    assert refusal.value.retry_after_s == pytest.approx(40)
    assert buckets.take("b") is not None
    clock.advance(40)
    assert buckets.take("a") is not None


def test_a_token_given_back_can_be_taken_again() -> None:
    buckets = limits(HandClock(), per_minute=1)
    token = buckets.take("a")
    buckets.give_back(token)
    buckets.give_back(token)
    assert buckets.state("a").remaining == 1
    buckets.take("a")
    assert buckets.state("a").remaining == 0


def test_never_more_than_the_limit_in_any_minute() -> None:
    clock, chance, taken = HandClock(), random.Random(7), []
    buckets = limits(clock)
    for _ in range(5000):
        clock.advance(chance.expovariate(2))
        try:
            buckets.take("a")
        except RateLimited:
            continue
        taken.append(clock.monotonic())
    assert len(taken) > 1000
    for i, at in enumerate(taken):
        assert sum(1 for other in taken[i : i + 31] if other < at + 60) <= 30


def test_a_jump_of_the_wall_clock_changes_nothing() -> None:
    clock = HandClock()
    buckets = limits(clock, per_minute=2)
    buckets.take("a")
    clock.jump(-10 * 365 * 86400)
    buckets.take("a")
    with pytest.raises(RateLimited):
        buckets.take("a")


def test_the_state_tells_when_remaining_next_rises() -> None:
    clock = HandClock(now_ms=1_000_000)
    buckets = limits(clock)
    assert buckets.state("a").reset_at == 1000
    buckets.take("a")
    clock.advance(10)
    state = buckets.state("a")
    assert (state.limit, state.remaining, state.reset_at) == (30, 29, 1060)


def test_zero_turns_the_limit_off() -> None:
    buckets = limits(HandClock(), per_minute=0)
    assert all(buckets.take("a") is None for _ in range(100))
