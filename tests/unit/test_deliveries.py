"""The delivery worker against real receivers: schedule, order, fairness, and what it survives."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from clock import HandClock
from delivery_rig import Rig, eventually
from patience import PATIENCE_S
from receiver import Received, Receiver, answering
from standardwebhooks.webhooks import Webhook

from appliance.gateway.clock import SystemClock
from appliance.gateway.delivery_records import PROBE_MS
from appliance.gateway.retry import SCHEDULE_S
from appliance.gateway.webhooks import EndpointChange
from appliance.model.webhook import DeliveryStatus, EndpointStatus
from appliance.store import deliveries
from appliance.store.database import Transaction

DAY_S = 86_400


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path, HandClock()) as ready:
        yield ready


@pytest.fixture
async def now(tmp_path: Path) -> AsyncIterator[Rig]:
    """A rig by the machine's own clock."""
    async with Rig(tmp_path, SystemClock()) as ready:
        yield ready


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as ready:
        yield ready


async def test_a_delivery_has_the_stored_bytes_and_every_header_of_the_contract(
    now: Rig, receiver: Receiver
) -> None:
    rig = now
    endpoint = await rig.endpoint(receiver.url, headers={"Authorization": "Bearer mine", "X-Own": "1"})
    secret = rig.webhooks.seal.secret(endpoint)
    [event_no] = await rig.tell()
    [got] = await receiver.wait_for(1)
    assert got.method == "POST"
    assert got.headers["content-length"] == str(len(got.body))
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-webhook-event"] == "message.received"
    assert got.headers["x-webhook-attempt"] == "1"
    assert got.headers["webhook-id"] == str(event_no)
    assert got.headers["authorization"] == "Bearer mine"
    envelope = json.loads(got.body)
    assert got.headers["x-webhook-timestamp"] == str(envelope["timestamp"])
    assert envelope["data"]["eventId"] == event_no
    expected = hmac.new(secret.encode(), got.body, hashlib.sha256).hexdigest()
    assert got.headers["x-webhook-signature"] == expected
    assert Webhook(secret).verify(got.body.decode(), got.headers)
    [delivery] = await rig.settled(endpoint, DeliveryStatus.DELIVERED)
    assert (delivery.attempts, delivery.last_status, delivery.last_error) == (1, 200, None)
    [tried] = await rig.db.reader.all(deliveries.attempts_of(rig.account.id, delivery.id))
    assert (tried.n, tried.status) == (1, 200)


async def test_a_failing_delivery_follows_the_schedule_and_dies_after_a_week_and_one_last_attempt(
    rig: Rig, receiver: Receiver
) -> None:
    receiver.script = lambda _: 500
    endpoint = await rig.endpoint(receiver.url)
    assert isinstance(rig.clock, HandClock)
    began = rig.clock.now_ms()
    await rig.tell()
    schedule_times: list[tuple[float, float]] = []
    while True:
        [delivery] = await rig.settled(endpoint, DeliveryStatus.PENDING)
        schedule_times.append((rig.clock.now_ms(), delivery.due_at))
        # Step over the probes: this test is about the schedule.
        await _without_probes(rig)
        before = delivery.attempts
        # The clock cuts fractions of a millisecond off.
        await rig.advance((delivery.due_at - rig.clock.now_ms() + 0.5) / 1000)

        async def tried_again(before: int = before) -> bool:
            [now] = await rig.deliveries(endpoint)
            return now.attempts > before

        await eventually(tried_again)
        [delivery] = await rig.deliveries(endpoint)
        if delivery.status is DeliveryStatus.DEAD:
            break
    waits = [(due - at) / 1000 for at, due in schedule_times]
    expected = [*SCHEDULE_S, *[DAY_S] * 7]
    for wait, nominal in zip(waits[:-1], expected, strict=False):
        assert nominal * 0.8 <= wait <= nominal * 1.2
    assert rig.clock.now_ms() - began == 7 * DAY_S * 1000
    assert [got.attempt for got in receiver.received] == list(range(1, len(waits) + 2))
    assert len(waits) > len(SCHEDULE_S) + 3


async def _without_probes(rig: Rig) -> None:
    def write(tx: Transaction) -> None:
        tx.run("UPDATE endpoints SET probe_at = NULL")

    await rig.db.transaction(write)


async def test_a_failing_endpoint_is_probed_within_15_minutes_and_its_recovery_frees_the_backlog(
    rig: Rig, receiver: Receiver
) -> None:
    receiver.script = lambda _: 503
    endpoint = await rig.endpoint(receiver.url)
    await rig.tell(40)
    await rig.settled(endpoint, DeliveryStatus.PENDING, 40)
    for _ in range(12):
        await rig.advance(15 * 60)
        await _idle(rig, receiver)
    failing = await rig.present(endpoint)
    assert failing.status is EndpointStatus.FAILING
    assert failing.failing_since is not None
    steps = {each.step for each in await rig.deliveries(endpoint)}
    receiver.script = lambda _: 204
    # Nothing is due for hours: the probe must notice.
    await _everything_due_in(rig, 6 * 3600)
    assert PROBE_MS <= 15 * 60 * 1000
    await rig.advance(15 * 60)
    await eventually(_all_delivered(rig, endpoint.id, 40))
    well = await rig.present(endpoint)
    assert (well.status, well.failing_since, well.probe_at) == (EndpointStatus.OK, None, None)
    assert max(steps) <= 7


async def _everything_due_in(rig: Rig, seconds: int) -> None:
    due_at = rig.clock.now_ms() + seconds * 1000
    await rig.db.transaction(lambda tx: tx.run("UPDATE deliveries SET due_at = ?", due_at))


def _all_delivered(rig: Rig, endpoint_id: str, count: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        filters = deliveries.Filters(status=DeliveryStatus.DELIVERED)
        found = await rig.db.reader.all(
            deliveries.page(rig.account.id, endpoint_id, filters, None, count + 1)
        )
        return len(found) == count

    return check


async def _idle(rig: Rig, receiver: Receiver) -> None:
    """Wait until everything due has been tried, as far as the pace of a failing endpoint lets it."""
    last = -1
    while len(receiver.received) != last:
        last = len(receiver.received)
        await rig.advance(1)
        with_more = last + 1
        try:
            await receiver.wait_for(with_more, 0.2)
        except TimeoutError:
            return


async def test_retry_after_is_honoured_also_by_probes_and_recovery(rig: Rig, receiver: Receiver) -> None:
    receiver.script = lambda _: web.Response(status=429, headers={"Retry-After": "7200"})
    endpoint = await rig.endpoint(receiver.url)
    await rig.tell()
    [delivery] = await rig.settled(endpoint, DeliveryStatus.PENDING)
    assert delivery.held
    assert delivery.due_at == rig.clock.now_ms() + 7_200_000
    receiver.script = lambda _: 200
    await rig.advance(1800)
    await rig.tell()
    await receiver.wait_for(2)
    await rig.settled(endpoint, DeliveryStatus.DELIVERED)
    await rig.advance(1800)
    await rig.tell()
    await receiver.wait_for(3)
    assert [got.attempt for got in receiver.received] == [1, 1, 1]
    await rig.advance(3601)
    await receiver.wait_for(4)
    assert receiver.received[3].attempt == 2


async def test_410_stops_the_endpoint_until_its_owner_enables_it(rig: Rig, receiver: Receiver) -> None:
    receiver.script = lambda _: 410
    endpoint = await rig.endpoint(receiver.url)
    await rig.tell(5)

    async def stopped() -> bool:
        return (await rig.present(endpoint)).status is EndpointStatus.STOPPED

    await eventually(stopped)
    await rig.advance(3600)
    await rig.tell()
    assert len(receiver.received) == 1
    reason = (await rig.present(endpoint)).status_reason
    assert reason is not None
    assert "410" in reason
    receiver.script = lambda _: 200
    await rig.webhooks.update(rig.account.id, endpoint.id, EndpointChange(enabled=True))
    await eventually(_all_delivered(rig, endpoint.id, 5))
    assert (await rig.present(endpoint)).status is EndpointStatus.OK


async def test_first_attempts_arrive_in_order_per_device_and_one_device_does_not_hold_another(
    rig: Rig, receiver: Receiver
) -> None:
    two = await rig.another_device()
    holding = asyncio.Event()

    async def script(got: Received) -> int:
        if got.data["deviceId"] == rig.device.id:
            await holding.wait()
        return 500 if got.event_no % 7 == 0 else 200

    receiver.script = script
    await rig.endpoint(receiver.url)
    # The first success opens more slots than one.
    [first] = await rig.tell(1, two)
    await receiver.wait_for(1)
    mine, theirs = [], []
    for _ in range(50):
        mine += await rig.tell(2)
        theirs += await rig.tell(2, two)
    await receiver.wait_for(12)
    held = [got.event_no for got in receiver.received if got.event_no in set(mine)]
    assert held == mine[:1]
    holding.set()
    await eventually(lambda: sum(got.attempt == 1 for got in receiver.received) == 201)
    arrived = [got.event_no for got in receiver.received if got.attempt == 1]
    assert [no for no in arrived if no in set(mine)] == mine
    assert [no for no in arrived if no in set(theirs)] == theirs
    assert arrived[0] == first


async def test_a_hanging_endpoint_delays_no_other(now: Rig) -> None:
    rig = now
    async with Receiver() as good, Receiver() as bad:
        never = asyncio.Event()
        bad.script = answering(never)
        for _ in range(30):
            await rig.endpoint(bad.url)
        await rig.endpoint(good.url)
        await rig.tell(200)
        await good.wait_for(200)
        assert len(bad.received) == 30
        never.set()


async def test_a_new_worker_takes_up_what_a_killed_one_had_under_way(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        never = asyncio.Event()
        receiver.script = answering(never)
        async with Rig(tmp_path, HandClock()) as rig:
            endpoint = await rig.endpoint(receiver.url)
            numbers = await rig.tell(3)
            await receiver.wait_for(1)
            await rig.kill_worker()
            states = {(each.status, each.attempts) for each in await rig.deliveries(endpoint)}
            assert states == {(DeliveryStatus.PENDING, 0)}
        never.set()
        receiver.script = lambda _: 200
        async with Rig(tmp_path, HandClock(), account=rig.account) as again:
            await again.settled(endpoint, DeliveryStatus.DELIVERED, 3)
        assert [got.event_no for got in receiver.received][1:] == numbers


async def test_a_worker_that_is_woken_and_cancelled_at_the_same_moment_ends(rig: Rig) -> None:
    assert rig.running is not None
    await eventually(lambda: rig.worker.wakeup._waiters)
    rig.worker.wake()
    rig.running.cancel()
    await asyncio.wait([rig.running], timeout=PATIENCE_S)
    assert rig.running.cancelled()
    rig.running = None


async def test_stop_lets_what_is_in_flight_finish_and_the_rest_wait(rig: Rig, receiver: Receiver) -> None:
    answers = asyncio.Event()
    receiver.script = answering(answers)
    endpoint = await rig.endpoint(receiver.url)
    await rig.tell(3)
    await receiver.wait_for(1)
    stopping = asyncio.create_task(rig.worker.stop(5))
    answers.set()
    await stopping
    states = [each.status for each in await rig.deliveries(endpoint)]
    assert states == [DeliveryStatus.DELIVERED, DeliveryStatus.PENDING, DeliveryStatus.PENDING]
    assert len(receiver.received) == 1


async def test_stop_cuts_what_does_not_finish_and_it_waits(rig: Rig, receiver: Receiver) -> None:
    never = asyncio.Event()
    receiver.script = answering(never)
    endpoint = await rig.endpoint(receiver.url)
    await rig.tell()
    await receiver.wait_for(1)
    await rig.worker.stop(0.05)
    [delivery] = await rig.deliveries(endpoint)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.PENDING, 0)
    never.set()


async def test_damaged_and_missing_bodies_are_dead_and_nothing_is_posted(
    rig: Rig, receiver: Receiver
) -> None:
    await rig.worker.stop()
    endpoint = await rig.endpoint(receiver.url)
    damaged, gone, fine = await rig.tell(3)

    def harm(tx: Transaction) -> None:
        worse = "CAST(replace(CAST(body AS TEXT), 'Halo', 'Hola') AS BLOB)"
        tx.run(f"UPDATE events SET body = {worse} WHERE no = ?", damaged)
        tx.run("DELETE FROM events WHERE no = ?", gone)

    await rig.db.transaction(harm)
    fresh = rig.another_worker()
    running = asyncio.create_task(fresh.run())
    rows = await rig.settled(endpoint, DeliveryStatus.DELIVERED)
    assert [(row.status.value, row.last_error) for row in rows] == [
        ("dead", "corrupt"),
        ("dead", "event_gone"),
        ("delivered", None),
    ]
    assert [got.event_no for got in receiver.received] == [fine]
    await fresh.stop()
    await running


async def test_a_changed_address_is_used_at_once(rig: Rig, receiver: Receiver) -> None:
    never = asyncio.Event()
    receiver.script = answering(never, 500)
    endpoint = await rig.endpoint(receiver.url)
    await rig.tell(4)
    await receiver.wait_for(1)
    async with Receiver() as other:
        await rig.webhooks.update(rig.account.id, endpoint.id, EndpointChange(url=other.url))
        never.set()
        await other.wait_for(3)
        assert len(receiver.received) == 1
        await rig.settled(endpoint, DeliveryStatus.DELIVERED, 3)


async def test_a_clock_set_back_by_ten_years_stalls_nothing(rig: Rig, receiver: Receiver) -> None:
    receiver.script = lambda _: 500
    endpoint = await rig.endpoint(receiver.url)
    await rig.tell()
    await rig.settled(endpoint, DeliveryStatus.PENDING)
    await eventually(lambda: len(receiver.received) == 1)
    receiver.script = lambda _: 200
    assert isinstance(rig.clock, HandClock)
    rig.clock.jump(-10 * 365 * DAY_S)
    rig.worker.wake()
    await rig.settled(endpoint, DeliveryStatus.DELIVERED)
    await rig.tell()
    await rig.settled(endpoint, DeliveryStatus.DELIVERED, 2)


async def test_what_is_under_way_is_not_begun_a_second_time(rig: Rig, receiver: Receiver) -> None:
    answers = asyncio.Event()
    receiver.script = answering(answers)
    endpoint = await rig.endpoint(receiver.url)
    await rig.tell()
    await receiver.wait_for(1)
    [under_way] = await rig.deliveries(endpoint)
    assert under_way.status is DeliveryStatus.PENDING
    again = await rig.webhooks.replay(rig.account.id, endpoint.id, under_way.id)
    assert again.status is DeliveryStatus.PENDING
    quick = await rig.endpoint(receiver.url)
    receiver.script = lambda _: 200
    # By the time that the other webhook has its own, several turns have looked at what waits.
    for n in range(1, 4):
        await rig.tell()
        await rig.settled(quick, DeliveryStatus.DELIVERED, n)
    assert len([got for got in receiver.received if got.event_no == under_way.event_no]) == 1
    answers.set()
    rows = await rig.settled(endpoint, DeliveryStatus.DELIVERED, 4)
    assert [row.attempts for row in rows] == [1, 1, 1, 1]


async def test_a_result_that_cannot_be_written_is_not_tried_for_again_and_again(
    rig: Rig, receiver: Receiver
) -> None:
    endpoint = await rig.endpoint(receiver.url)
    await rig.db.transaction(lambda tx: tx.run("ALTER TABLE attempts RENAME TO attempts_elsewhere"))
    await rig.tell()
    await receiver.wait_for(1)
    other = await rig.endpoint(receiver.url, device_id=(await rig.another_device()).id)
    await eventually(lambda: bool(rig.worker._records._unwritable))
    await rig.db.transaction(lambda tx: tx.run("ALTER TABLE attempts_elsewhere RENAME TO attempts"))
    await rig.webhooks.test(rig.account.id, other.id)
    await rig.settled(other, DeliveryStatus.DELIVERED)
    assert len(receiver.received) == 2
    assert [row.status for row in await rig.deliveries(endpoint)] == [DeliveryStatus.PENDING]


async def test_an_address_no_longer_allowed_stops_the_endpoint(rig: Rig, receiver: Receiver) -> None:
    endpoint = await rig.endpoint(receiver.url)
    rig.private_allowed = False
    await rig.tell()

    async def stopped() -> bool:
        return (await rig.present(endpoint)).status is EndpointStatus.STOPPED

    await eventually(stopped)
    reason = (await rig.present(endpoint)).status_reason
    assert reason is not None
    assert 'webhooks.allow = ["loopback"]' in reason
    assert receiver.received == []
    assert [row.last_error for row in await rig.deliveries(endpoint)] == ["address_forbidden"]


async def test_a_rotated_secret_signs_beside_the_new_one_for_a_day(rig: Rig, receiver: Receiver) -> None:
    endpoint = await rig.endpoint(receiver.url)
    old = rig.webhooks.seal.secret(endpoint)
    rotated = await rig.webhooks.rotate_secret(rig.account.id, endpoint.id)
    new = rig.webhooks.seal.secret(rotated)
    await rig.tell()
    [got] = await receiver.wait_for(1)
    sign = {key: hmac.new(key.encode(), got.body, hashlib.sha256).hexdigest() for key in (old, new)}
    assert got.headers["x-webhook-signature"] == sign[new]
    assert got.headers["x-webhook-signature-previous"] == sign[old]
    assert len(got.headers["webhook-signature"].split()) == 2
    await rig.advance(24 * 3600)
    await rig.tell()
    later = (await receiver.wait_for(2))[1]
    assert "x-webhook-signature-previous" not in later.headers
    assert len(later.headers["webhook-signature"].split()) == 1
