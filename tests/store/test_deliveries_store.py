"""Endpoints and deliveries in the store: lists, the order of the queue, replays, and what a deletion takes
along."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from clock import HandClock
from delivery_rig import Rig

from appliance.gateway.removal import Removal
from appliance.model.errors import Conflict, NotFound
from appliance.model.event import EventType
from appliance.model.webhook import (
    Attempt,
    Delivery,
    DeliveryStatus,
    Endpoint,
    EndpointFilters,
    EndpointStatus,
)
from appliance.store import deliveries, delivery_queue, removal, webhooks
from appliance.store.database import Transaction
from appliance.store.delivery_queue import Claimed, Recorded
from appliance.store.query import count

URL = "http://127.0.0.1:9999/hook"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path, HandClock(), worker=False) as ready:
        yield ready


async def claimed(
    rig: Rig, endpoint: Endpoint, limit: int = 100, taken: Sequence[Claimed] = ()
) -> list[Claimed]:
    """Claim first attempts as the worker does, which knows what it has taken."""
    return await rig.db.reader.all(delivery_queue.fresh(endpoint.id, limit, nos(taken)))


def nos(rows: Sequence[Claimed]) -> list[int]:
    return [row.no for row in rows]


def outcome(row: Claimed, status: DeliveryStatus, due_at: int = 0) -> Recorded:
    attempt = Attempt(delivery_no=row.no, n=row.attempts + 1, at=5, duration_ms=2, status=200, answer=b"ok")
    return Recorded(attempt, row.endpoint_id, status, step=row.step + 1, due_at=due_at)


async def record(rig: Rig, *done: Recorded) -> None:
    def write(tx: Transaction) -> None:
        for each in done:
            delivery_queue.record(tx, each)

    await rig.db.transaction(write)


async def test_every_interested_endpoint_gets_one_delivery(rig: Rig) -> None:
    two = await rig.another_device()
    wanted = {
        "everything": await rig.endpoint(URL),
        "device one": await rig.endpoint(URL, device_id=rig.device.id),
        "device two": await rig.endpoint(URL, device_id=two.id),
        "statuses": await rig.endpoint(URL, events=[EventType.MESSAGE_STATUS]),
        "groups": await rig.endpoint(URL, filters=EndpointFilters(chat_kinds=["group"])),
        "status chats": await rig.endpoint(URL, filters=EndpointFilters(chat_kinds=["status"])),
        "images": await rig.endpoint(URL, filters=EndpointFilters(kinds=["image"])),
        "mine": await rig.endpoint(URL, filters=EndpointFilters(from_me=True)),
        "one chat": await rig.endpoint(URL, filters=EndpointFilters(remote_jids=["+62 811-1222-333"])),
        "other chat": await rig.endpoint(URL, filters=EndpointFilters(remote_jids=["628999888777"])),
        "off": await rig.endpoint(URL, enabled=False),
    }

    taken: list[Claimed] = []

    async def told() -> set[str]:
        found = {name: await claimed(rig, endpoint, taken=taken) for name, endpoint in wanted.items()}
        taken.extend(row for rows in found.values() for row in rows)
        return {name for name, rows in found.items() if rows}

    await rig.tell()
    assert await told() == {"everything", "device one", "one chat"}
    await rig.tell(chat_kind="group", chat="120363000000000001@g.us")
    assert await told() == {"everything", "device one", "groups"}
    await rig.tell(chat_kind="status", chat="status@broadcast")
    assert await told() == {"status chats"}
    await rig.tell(kind="image", from_me=True)
    assert await told() == {"everything", "device one", "images", "mine", "one chat"}
    await rig.tell(only_endpoint=wanted["statuses"].id)
    assert await told() == {"statuses"}


async def test_a_stopped_endpoint_gets_nothing_new(rig: Rig) -> None:
    endpoint = await rig.endpoint(URL)
    await rig.db.transaction(lambda tx: webhooks.mark_stopped(tx, endpoint.id, "gone"))
    await rig.tell()
    assert await rig.deliveries(endpoint) == []
    with pytest.raises(Conflict):
        await rig.webhooks.test(rig.account.id, endpoint.id)


async def test_an_undone_event_leaves_no_delivery(rig: Rig) -> None:
    endpoint = await rig.endpoint(URL)

    def broken(tx: Transaction) -> None:
        rig.log.append(tx, rig.message(rig.device))
        raise LookupError

    with pytest.raises(LookupError):
        await rig.db.transaction(broken)
    assert await rig.deliveries(endpoint) == []


async def test_the_queue_gives_first_attempts_in_order_and_later_ones_by_their_time(rig: Rig) -> None:
    endpoint = await rig.endpoint(URL)
    await rig.tell(4)
    rows = await claimed(rig, endpoint, 3)
    assert [row.event_no for row in rows] == [1, 2, 3]
    assert all(row.body for row in rows)
    [last] = await claimed(rig, endpoint, taken=rows)
    assert last.event_no == 4
    [work] = await rig.db.reader.all(delivery_queue.work(nos(rows)))
    assert (work.fresh, work.due_at) == (True, None)
    due_at = rig.clock.now_ms() + 1000
    times = (due_at + 5, due_at, due_at + 9000)
    await record(
        rig, *[outcome(row, DeliveryStatus.PENDING, at) for row, at in zip(rows, times, strict=True)]
    )
    query = delivery_queue.due(endpoint.id, due_at + 10, 10, [])
    assert [row.event_no for row in await rig.db.reader.all(query)] == [2, 1]
    [work] = await rig.db.reader.all(delivery_queue.work([last.no]))
    assert (work.fresh, work.due_at) == (False, due_at)
    probe = await rig.db.reader.one(delivery_queue.probe(endpoint.id, []))
    assert probe is not None
    assert (probe.event_no, probe.probe) == (2, True)
    taken = [rows[1].no, last.no]
    query = delivery_queue.due(endpoint.id, due_at + 10, 10, taken)
    assert [row.event_no for row in await rig.db.reader.all(query)] == [1]
    [work] = await rig.db.reader.all(delivery_queue.work(taken))
    assert (work.fresh, work.due_at) == (False, due_at + 5)
    probe = await rig.db.reader.one(delivery_queue.probe(endpoint.id, taken))
    assert probe is not None
    assert probe.event_no == 1


async def test_a_backlog_is_made_due_in_parts_but_not_what_the_receiver_postponed(rig: Rig) -> None:
    endpoint = await rig.endpoint(URL)
    await rig.tell(5)
    rows = await claimed(rig, endpoint)
    later = rig.clock.now_ms() + 3_600_000
    done = [outcome(row, DeliveryStatus.PENDING, later) for row in rows]
    done[0].held = True
    await record(rig, *done)
    now = rig.clock.now_ms()
    parts = [
        await rig.db.transaction(lambda tx: delivery_queue.make_due(tx, endpoint.id, now, 3))
        for _ in range(3)
    ]
    assert parts == [3, 1, 0]
    assert [row.due_at == now for row in await rig.deliveries(endpoint)] == [False, True, True, True, True]


async def test_a_result_for_a_deleted_endpoint_changes_nothing(rig: Rig) -> None:
    endpoint = await rig.endpoint(URL)
    await rig.tell()
    [row] = await claimed(rig, endpoint)
    await rig.webhooks.delete(rig.account.id, endpoint.id)
    await record(rig, outcome(row, DeliveryStatus.DELIVERED))
    await Removal(rig.db).purge()
    await record(rig, outcome(row, DeliveryStatus.DELIVERED))
    left = await rig.db.reader.one(count("SELECT count(*) FROM attempts"))
    assert left == 0


async def test_an_endpoint_of_a_deleted_device_goes_with_it(rig: Rig) -> None:
    mine = await rig.endpoint(URL, device_id=rig.device.id)
    every = await rig.endpoint(URL)
    await rig.tell(2)
    await rig.db.transaction(lambda tx: removal.hide_device(tx, rig.account.id, rig.device.id))
    assert await rig.db.reader.one(webhooks.by_id(rig.account.id, mine.id)) is None
    assert await rig.db.reader.one(webhooks.by_id(rig.account.id, every.id)) is not None
    await Removal(rig.db).purge()
    assert await rig.deliveries(every) == []


async def test_lists_are_narrowed_by_status_event_and_time(rig: Rig) -> None:
    endpoint = await rig.endpoint(URL)
    await rig.tell(2)
    middle = rig.clock.now_ms() + 1000
    await rig.advance(1)
    await rig.tell(2)
    rows = await claimed(rig, endpoint)
    await record(rig, outcome(rows[0], DeliveryStatus.DELIVERED), outcome(rows[3], DeliveryStatus.DEAD))

    async def listed(**narrow: object) -> list[int]:
        filters = deliveries.Filters(**narrow)  # type: ignore[arg-type]
        query = deliveries.page(rig.account.id, endpoint.id, filters, None, 10)
        return [row.event_no for row in await rig.db.reader.all(query)]

    assert await listed() == [4, 3, 2, 1]
    assert await listed(status=DeliveryStatus.DEAD) == [4]
    assert await listed(since=middle) == [4, 3]
    assert await listed(until=middle) == [2, 1]
    assert await listed(event=EventType.DEVICE_STATUS) == []
    assert await rig.db.reader.one(deliveries.waiting_for(rig.account.id, rig.device.id)) == 2


async def test_a_replay_begins_the_schedule_anew_and_keeps_the_attempts(rig: Rig) -> None:
    endpoint = await rig.endpoint(URL)
    await rig.tell(3)
    rows = await claimed(rig, endpoint)
    await record(rig, *[outcome(row, DeliveryStatus.DEAD) for row in rows])
    await rig.advance(8 * 86_400)
    [first, *_] = await rig.deliveries(endpoint)
    again = await rig.webhooks.replay(rig.account.id, endpoint.id, first.id)
    assert isinstance(again, Delivery)
    assert (again.status, again.attempts, again.step) == (DeliveryStatus.PENDING, 1, 0)
    assert (again.failing_since, again.due_at) == (None, rig.clock.now_ms())
    assert await rig.webhooks.replay_range(rig.account.id, endpoint.id, 0, status=DeliveryStatus.DEAD) == 2
    assert await rig.webhooks.replay_range(rig.account.id, endpoint.id, rig.clock.now_ms()) == 0
    await rig.db.transaction(lambda tx: tx.run("DELETE FROM events WHERE no = 1"))
    with pytest.raises(Conflict):
        await rig.webhooks.replay(rig.account.id, endpoint.id, first.id)
    with pytest.raises(NotFound):
        await rig.webhooks.replay("another", endpoint.id, first.id)


async def test_health_moves_between_ok_failing_and_stopped(rig: Rig) -> None:
    endpoint = await rig.endpoint(URL)

    async def after(change: str, *args: object) -> Endpoint:
        await rig.db.transaction(lambda tx: getattr(webhooks, change)(tx, endpoint.id, *args))
        return await rig.present(endpoint)

    failing = await after("mark_failing", 1000, 5000)
    assert (failing.status, failing.failing_since, failing.probe_at) == (EndpointStatus.FAILING, 1000, 5000)
    still = await after("mark_failing", 2000, 6000)
    assert (still.failing_since, still.probe_at) == (1000, 6000)
    soon = await after("mark_well", 900)
    assert (soon.status, soon.catching_up, soon.failing_since) == (EndpointStatus.OK, False, None)
    await after("mark_failing", 1000, 5000)
    assert (await after("mark_well", 1000)).catching_up
    stopped = await after("mark_stopped", "gone")
    assert (stopped.status, stopped.status_reason) == (EndpointStatus.STOPPED, "gone")
    assert (await after("mark_well", 0)).status is EndpointStatus.STOPPED
    assert (await after("mark_failing", 1, 2)).status is EndpointStatus.STOPPED
    assert (await after("restart")).status is EndpointStatus.OK
