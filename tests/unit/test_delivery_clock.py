"""What a clock that is set, and a gateway that was off, mean for deliveries: no death and no storm."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from clock import HandClock
from delivery_rig import Rig, eventually
from receiver import Receiver

from appliance.gateway.delivery_alarm import gives_up_at, status_reason
from appliance.gateway.retry import counted_from
from appliance.model.webhook import Delivery, DeliveryStatus, EndpointStatus

DAY_S = 86_400
DAY_MS = DAY_S * 1000
NOW_MS = 1_780_000_000_000
YEARS_S = 10 * 365 * DAY_S


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver(lambda _: 500) as ready:
        yield ready


def clock_of(rig: Rig) -> HandClock:
    assert isinstance(rig.clock, HandClock)
    return rig.clock


async def tried_again(rig: Rig, receiver: Receiver, count: int) -> list[Delivery]:
    """The deliveries, once the receiver has had `count` requests and all results are on disk."""
    await receiver.wait_for(count)

    async def recorded() -> bool:
        rows = await rig.deliveries(endpoint)
        return sum(row.attempts for row in rows) == count

    [endpoint] = await rig.endpoints()
    await eventually(recorded)
    return await rig.deliveries(endpoint)


@pytest.mark.parametrize(
    ("since", "due_at", "trying_since", "at", "expected"),
    [
        (None, 0, 0, NOW_MS, NOW_MS),
        (NOW_MS, NOW_MS + 5_000, NOW_MS, NOW_MS + 5_000, NOW_MS),
        (NOW_MS, NOW_MS + 5_000, NOW_MS, NOW_MS + 3 * DAY_MS, NOW_MS),
        (NOW_MS, NOW_MS + 5_000, NOW_MS + 3 * DAY_MS + 5_000, NOW_MS + 4 * DAY_MS, NOW_MS + 3 * DAY_MS),
        (100_000, 105_000, NOW_MS, NOW_MS, NOW_MS - 5_000),
        (NOW_MS, NOW_MS + 5_000, 100_000, 100_000, 100_000),
    ],
    ids=["first", "in time", "behind others", "off for three days", "from 1970", "back to 1970"],
)
def test_where_the_seven_days_begin(
    since: int | None, due_at: int, trying_since: int, at: int, expected: int
) -> None:
    assert counted_from(since, due_at_ms=due_at, trying_since_ms=trying_since, at_ms=at) == expected


async def test_a_clock_that_starts_in_1970_and_is_then_set_kills_nothing(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with Rig(tmp_path, HandClock(60_000)) as rig:
        endpoint = await rig.endpoint(receiver.url)
        await rig.tell(3)
        await tried_again(rig, receiver, 3)
        clock_of(rig).jump((NOW_MS - 60_000) / 1000)
        rig.worker.wake()
        rows = await tried_again(rig, receiver, 6)
        assert [row.status for row in rows] == [DeliveryStatus.PENDING] * 3
        assert all(NOW_MS - 10_000 <= (row.failing_since or 0) <= NOW_MS for row in rows)
        failing = await rig.present(endpoint)
        assert failing.failing_since == NOW_MS
        assert status_reason(failing, NOW_MS) is None


async def test_a_jump_of_a_day_costs_one_early_attempt_each(tmp_path: Path, receiver: Receiver) -> None:
    async with Rig(tmp_path, HandClock()) as rig:
        await rig.endpoint(receiver.url)
        await rig.tell(20)
        await tried_again(rig, receiver, 20)
        clock_of(rig).jump(DAY_S)
        rig.worker.wake()
        rows = await tried_again(rig, receiver, 40)
        assert {row.attempts for row in rows} == {2}
        assert all(row.due_at > rig.clock.now_ms() for row in rows)
        clock_of(rig).jump(-DAY_S)
        rig.worker.wake()
        await rig.tell()
        await receiver.wait_for(41)
        assert len(receiver.received) == 41


async def test_days_in_which_the_gateway_was_off_do_not_count(tmp_path: Path, receiver: Receiver) -> None:
    async with Rig(tmp_path, HandClock()) as rig:
        await rig.endpoint(receiver.url)
        await rig.tell()
        await tried_again(rig, receiver, 1)
        await rig.worker.stop()
        await rig.tell()
    # Eight days later the gateway is started before its receiver is.
    async with Rig(tmp_path, HandClock(NOW_MS + 8 * DAY_MS), account=rig.account) as later:
        await receiver.wait_for(2)
        # The pace of an endpoint that has been failing for long.
        await later.advance(2)
        rows = await tried_again(later, receiver, 3)
        assert [row.status for row in rows] == [DeliveryStatus.PENDING] * 2
        receiver.script = lambda _: 200
        await later.advance(15 * 60)
        await later.settled((await later.endpoints())[0], DeliveryStatus.DELIVERED, 2)


async def test_a_clock_that_was_set_back_while_nobody_ran_stalls_nothing(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with Rig(tmp_path, HandClock()) as rig:
        endpoint = await rig.endpoint(receiver.url)
        await rig.tell()
        await tried_again(rig, receiver, 1)
    receiver.script = lambda _: 200
    async with Rig(tmp_path, HandClock(NOW_MS - YEARS_S * 1000), account=rig.account) as later:
        await later.settled(endpoint, DeliveryStatus.DELIVERED)


async def test_a_clock_set_back_by_hours_leaves_the_probes_alone(tmp_path: Path, receiver: Receiver) -> None:
    async with Rig(tmp_path, HandClock()) as rig:
        endpoint = await rig.endpoint(receiver.url)
        await rig.tell()
        await tried_again(rig, receiver, 1)
        clock_of(rig).jump(-20 * 3600)
        rig.worker.wake()

        async def clamped() -> bool:
            probe_at = (await rig.present(endpoint)).probe_at or 0
            return probe_at <= rig.clock.now_ms() + 15 * 60_000

        await eventually(clamped)
        receiver.script = lambda _: 200
        await rig.advance(15 * 60)
        await rig.settled(endpoint, DeliveryStatus.DELIVERED)


async def test_after_five_days_of_failing_the_log_and_the_endpoint_say_so(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> int:
        return sum(record.msg == "webhook_failing_for_days" for record in caplog.records)

    caplog.set_level(logging.WARNING)
    async with Rig(tmp_path, HandClock()) as rig:
        endpoint = await rig.endpoint(receiver.url)
        await rig.tell()
        await tried_again(rig, receiver, 1)
        failing = await rig.present(endpoint)
        assert failing.status is EndpointStatus.FAILING
        assert gives_up_at(failing) == NOW_MS + 7 * DAY_MS
        await rig.advance(4.9 * DAY_S)
        await tried_again(rig, receiver, 2)
        assert said() == 0
        assert status_reason(await rig.present(endpoint), rig.clock.now_ms()) is None
        await rig.advance(0.2 * DAY_S)
        await eventually(lambda: said() == 1)
        reason = status_reason(await rig.present(endpoint), rig.clock.now_ms())
        assert reason is not None
        assert "5 days" in reason
        await rig.advance(3600)
        await rig.advance(DAY_S)
        await eventually(lambda: said() == 2)
        receiver.script = lambda _: 200
        await rig.advance(DAY_S)
        await rig.settled(endpoint, DeliveryStatus.DELIVERED)
        well = await rig.present(endpoint)
        assert (gives_up_at(well), status_reason(well, rig.clock.now_ms())) == (None, None)
