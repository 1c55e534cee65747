"""Events that come together are written together, and one by itself at once."""

import asyncio
from pathlib import Path

import pytest
from media_rig import MediaRig
from running import START_S

from appliance.engine.base import Applied, ChatNamed, Incoming
from appliance.gateway import inbound
from appliance.gateway.inbound import CROWD, ENOUGH, GROUP_LIMIT
from appliance.model.device import Device


async def told(rig: MediaRig, device: Device, many: int) -> list[asyncio.Future[Applied | None]]:
    """That many events, handed in; a future for each one's acknowledgement."""
    loop = asyncio.get_running_loop()
    acknowledged: list[asyncio.Future[Applied | None]] = [loop.create_future() for _ in range(many)]
    for n, future in enumerate(acknowledged):
        event = ChatNamed(f"{n}@g.us", f"Group {n}")
        await rig.inbound.put(Incoming(device.id, event, future.set_result))
    return acknowledged


async def taken(rig: MediaRig) -> None:
    """Returns once the pump has begun with everything that was handed in."""
    while rig.inbound.waiting:  # noqa: ASYNC110 (nothing tells, and its next step is a moment away)
        await asyncio.sleep(0)


async def test_where_many_come_those_that_follow_share_their_commit(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        await rig.inbound.drained()
        before = rig.db.commits
        first = await told(rig, device, CROWD)
        await taken(rig)
        second = await told(rig, device, 3)
        await asyncio.wait_for(asyncio.gather(*first, *second), START_S)
        assert rig.db.commits == before + 1


async def test_as_soon_as_there_are_enough_nobody_waits_for_more(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        await rig.inbound.drained()
        before = rig.db.commits
        first = await told(rig, device, ENOUGH)
        await taken(rig)
        second = await told(rig, device, 1)
        await asyncio.wait_for(asyncio.gather(*first, *second), START_S)
        assert rig.db.commits == before + 2


async def test_a_few_wait_for_nobody(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        await rig.inbound.drained()
        before = rig.db.commits
        first = await told(rig, device, CROWD // 2)
        await taken(rig)
        second = await told(rig, device, 1)
        await asyncio.wait_for(asyncio.gather(*first, *second), START_S)
        assert rig.db.commits == before + 2


async def test_where_somebody_waits_a_group_makes_an_end_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound, "BRIEF_S", 0.0)
    monkeypatch.setattr(inbound, "HOLD_S", START_S)
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        await rig.inbound.drained()
        before, callers = rig.db.changes, 0
        events = await told(rig, device, GROUP_LIMIT)

        async def call() -> None:
            nonlocal callers
            while not all(event.done() for event in events):
                await asyncio.wait_for(rig.db.transaction(lambda _tx: None), START_S)
                callers += 1

        await asyncio.gather(*(call() for _ in range(3)))
        assert rig.db.changes - before - callers > 1
