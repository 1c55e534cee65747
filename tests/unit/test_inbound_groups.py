"""Events that come together are written together, and one by itself at once."""

import asyncio
import threading
from pathlib import Path

import pytest
from media_rig import MediaRig
from patience import PATIENCE_S

from appliance.engine.base import Applied, ChatNamed, Incoming
from appliance.gateway import inbound
from appliance.gateway.inbound import CROWD, ENOUGH, GROUP_LIMIT
from appliance.model.device import Device
from appliance.store.group_writer import GROUP_LIMIT as AT_ONCE


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


@pytest.mark.parametrize(
    ("many", "commits"),
    [
        pytest.param(CROWD, 1, id="in a crowd those that follow are waited for"),
        pytest.param(ENOUGH, 2, id="when there are enough nobody waits for more"),
        pytest.param(CROWD // 2, 2, id="a few wait for nobody"),
    ],
)
async def test_those_that_come_together_share_a_commit(tmp_path: Path, many: int, commits: int) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        await rig.inbound.drained()
        before = rig.db.commits
        first = await told(rig, device, many)
        await taken(rig)
        second = await told(rig, device, 1)
        await asyncio.wait_for(asyncio.gather(*first, *second), PATIENCE_S)
        assert rig.db.commits == before + commits


async def test_where_somebody_waits_a_group_makes_an_end_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound, "BRIEF_S", 0.0)
    monkeypatch.setattr(inbound, "HOLD_S", PATIENCE_S)
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        await rig.inbound.drained()
        before, may_go_on = rig.db.changes, threading.Event()
        busy = asyncio.create_task(rig.db.transaction(lambda _tx: may_go_on.wait(PATIENCE_S)))
        events = await told(rig, device, GROUP_LIMIT)
        await taken(rig)
        # So many that some of them still wait when it is the events' turn.
        callers = [asyncio.create_task(rig.db.transaction(lambda _tx: None)) for _ in range(3 * AT_ONCE)]
        await asyncio.sleep(0)
        may_go_on.set()
        await asyncio.wait_for(asyncio.gather(busy, *callers, *events), PATIENCE_S)
        assert rig.db.changes - before - 1 - len(callers) > 1
