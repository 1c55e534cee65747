"""R6, short: what is promised about a receiver that is down for days."""

from pathlib import Path

from crash.outage import HOUR_S, Outcome, down_for, given_up

from appliance.gateway.retry import DAY_S


def proven(outcome: Outcome) -> None:
    print(outcome.line())
    assert outcome.faults() == []
    assert outcome.attempts > outcome.deliveries


async def test_a_day_of_outage_is_over_within_a_probe_and_everything_arrives(tmp_path: Path) -> None:
    outcome = await down_for(tmp_path, 150, DAY_S, 15_000, 600)
    proven(outcome)
    assert outcome.dead == 0
    assert outcome.checked > 10


async def test_a_week_of_outage_less_an_hour_loses_nothing(tmp_path: Path) -> None:
    outcome = await down_for(tmp_path, 50, 7 * DAY_S - HOUR_S, 120_000, 600)
    proven(outcome)
    assert outcome.dead == 0


async def test_what_is_given_up_had_seven_days_and_one_last_attempt_and_can_be_replayed(
    tmp_path: Path,
) -> None:
    outcome = await given_up(tmp_path, 50, 120_000)
    proven(outcome)
    assert outcome.down_s >= 7 * DAY_S
