"""Retention does not believe a clock that was just set: it would take everything at once."""

import asyncio
import logging
from pathlib import Path

import pytest
from delivery_rig import eventually
from media_rig import MediaRig

from appliance.gateway.retention import Retention, RetentionSettings
from appliance.model.event import Event, EventType
from appliance.store import events
from appliance.store.query import count

DAY_S = 86_400
HOUR_S = 3600
MS = 1000


def retention(rig: MediaRig) -> Retention:
    return Retention(rig.db, rig.clock, RetentionSettings(), rig.media)


async def kept(rig: MediaRig, age_days: float) -> None:
    """An event of that age."""
    at = rig.clock.now_ms() - int(age_days * DAY_S * MS)
    no = (await rig.db.reader.one(events.highest()) or 0) + 1
    event = Event(
        no=no,
        account_id="a",
        device_id="d",
        type=EventType.DEVICE_STATUS,
        body=b"{}",
        crc=events.crc(b"{}"),
        created_at=at,
    )
    await rig.db.transaction(lambda tx: events.insert(tx, event))


async def left(rig: MediaRig) -> int:
    return await rig.db.reader.one(count("SELECT count(*) FROM events")) or 0


@pytest.mark.parametrize("jump_s", [10 * 365 * DAY_S, -10 * 365 * DAY_S, 2 * HOUR_S])
async def test_a_clock_that_was_set_is_believed_after_six_hours(tmp_path: Path, jump_s: int) -> None:
    async with MediaRig(tmp_path) as rig:
        cleaner = retention(rig)
        rig.clock.advance(HOUR_S)
        assert cleaner.clock_is_believed()
        rig.clock.jump(jump_s)
        assert not cleaner.clock_is_believed()
        rig.clock.advance(5.9 * HOUR_S)
        assert not cleaner.clock_is_believed()
        rig.clock.advance(0.2 * HOUR_S)
        assert cleaner.clock_is_believed()


async def test_a_start_with_a_clock_far_from_the_newest_event_deletes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with MediaRig(tmp_path) as rig:
        await kept(rig, 40)
        rig.clock.jump(10 * 365 * DAY_S)
        cleaner = retention(rig)
        running = asyncio.create_task(cleaner.run())
        await eventually(lambda: "retention_waits_for_clock" in caplog.messages)
        assert not cleaner.clock_is_believed()
        running.cancel()
        assert await left(rig) == 1


async def test_a_start_soon_after_the_newest_event_deletes_what_is_old(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        await kept(rig, 40)
        await kept(rig, 3)
        running = asyncio.create_task(retention(rig).run())

        async def one_left() -> bool:
            return await left(rig) == 1

        await eventually(one_left)
        running.cancel()
