"""The bell that wakes the delivery worker: silent for what queues nothing, never early, never missed."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from clock import HandClock
from delivery_rig import Rig, eventually
from patience import PATIENCE_S

from appliance.gateway.delivery_bell import DeliveryBell
from appliance.store.database import Transaction


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path, HandClock(), worker=False) as ready:
        yield ready


@pytest.fixture
def woken(rig: Rig) -> asyncio.Event:
    event = asyncio.Event()
    rig.log.listen(DeliveryBell(rig.db, event))
    return event


async def test_nothing_queued_rings_nothing(rig: Rig, woken: asyncio.Event) -> None:
    await rig.tell(3)
    assert not woken.is_set()
    await rig.endpoint("http://127.0.0.1:9999/", events=["device.status"])
    await rig.tell(3)
    assert not woken.is_set()


async def test_each_commit_that_queues_something_rings_once(rig: Rig, woken: asyncio.Event) -> None:
    await rig.endpoint("http://127.0.0.1:9999/")
    for _ in range(3):
        await rig.tell()
        assert woken.is_set()
        woken.clear()
        rig.log.wake(rig.account.id)
        assert not woken.is_set()


async def test_a_ring_before_the_commit_does_not_use_up_the_hint(rig: Rig, woken: asyncio.Event) -> None:
    await rig.endpoint("http://127.0.0.1:9999/")
    queued, may_commit = threading.Event(), threading.Event()

    def slowly(tx: Transaction) -> None:
        rig.log.append(tx, rig.message(rig.device))
        queued.set()
        may_commit.wait(PATIENCE_S)

    committing = asyncio.create_task(rig.db.transaction(slowly))
    await eventually(queued.is_set)
    rig.log.wake("somebody else, whose commit came before")
    woken.clear()
    may_commit.set()
    await committing
    rig.log.wake(rig.account.id)
    assert woken.is_set()
