"""Retention by size: the oldest go until the rest fits, in an order that keeps what matters longest."""

import logging
from pathlib import Path

import msgspec
import pytest
from media_rig import MediaRig
from messages_of import told

from appliance.gateway.pace import FEWEST, GOAL_S, MOST, following
from appliance.gateway.retention import MIB, Retention, RetentionSettings
from appliance.model.device import Device
from appliance.model.ids import new_id
from appliance.model.message import Message, MessageStatus
from appliance.store import events, figures, messages
from appliance.store.database import Transaction
from appliance.store.query import count

DAY_MS = 86_400_000


def write(tx: Transaction, device: Device, at: int, kib: int, status: MessageStatus | None = None) -> None:
    """A message of that size."""
    row = Message(
        id=new_id(),
        account_id=device.account_id,
        device_id=device.id,
        chat="1@s.whatsapp.net",
        from_me=status is not None,
        kind="text",
        type="conversation",
        content=b"x" * kib * 1024,
        status=status,
        created_at=at,
    )
    messages.insert(tx, row)


def tell(tx: Transaction, device: Device, no: int, at: int, kib: int) -> None:
    """An event of that size."""
    body = b"x" * kib * 1024
    events.insert(tx, told(device.account_id, device.id, no, at, body))


async def how_many(rig: MediaRig, table: str) -> int:
    return await rig.db.reader.one(count(f"SELECT count(*) FROM {table}")) or 0


async def filled(rig: MediaRig, events_age_ms: int, messages_age_ms: int) -> Device:
    """2 MiB of events and 2 MiB of messages of that age."""
    device = await rig.device()
    now = rig.clock.now_ms()
    first = (await rig.db.reader.one(events.highest()) or 0) + 1

    def fill(tx: Transaction) -> None:
        for n in range(128):
            tell(tx, device, first + n, now - events_age_ms, 16)
            write(tx, device, now - messages_age_ms, 16)

    await rig.db.transaction(fill)
    return device


def retention(rig: MediaRig, mib: int) -> Retention:
    settings = RetentionSettings(events_days=3650, max_mib=mib)
    return Retention(rig.db, rig.clock, settings, rig.media)


async def used(rig: MediaRig) -> int:
    return (await rig.db.reader.all(figures.room()))[0].used


async def test_events_go_first_and_the_gap_is_told(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await filled(rig, 2 * DAY_MS, 9 * DAY_MS)
        assert await used(rig) > 4 * MIB
        assert await retention(rig, 3).sweep() > 0
        assert await used(rig) <= 3 * MIB
        assert await how_many(rig, "messages") == 128
        left = await rig.db.reader.all(events.after(device.account_id, 0, 1000))
        floor = await rig.db.reader.one(events.floor(device.account_id)) or 0
        gone = 128 - sum(len(event.body) == 16 * 1024 for event in left)
        assert 0 < gone < 128
        assert floor >= max(event.no for event in left) - len(left)
        assert {event.no for event in left if event.no > floor} == set(
            range(floor + 1, (await rig.db.reader.one(events.highest()) or 0) + 1)
        )


async def test_messages_go_when_events_were_not_enough_and_the_newest_stay(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        now = rig.clock.now_ms()

        def fill(tx: Transaction) -> None:
            write(tx, device, now - 9 * DAY_MS, 1, MessageStatus.QUEUED)
            for _ in range(1000):
                write(tx, device, now - 2 * DAY_MS, 3)
            write(tx, device, now, 3)

        await rig.db.transaction(fill)
        await retention(rig, 2).sweep()
        assert await used(rig) <= 2 * MIB
        left = await rig.db.reader.all(count("SELECT no FROM messages ORDER BY no"))
        assert 10 < len(left) < 900
        assert left == [1, *range(1002 - len(left) + 2, 1003)], "what waits stays, and the newest do"


async def test_what_is_fresh_stays_though_it_is_too_much(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with MediaRig(tmp_path) as rig:
        await filled(rig, 60_000, 60_000)
        await retention(rig, 1).sweep()
        assert await how_many(rig, "messages") == 128
        assert "retention_over_limit" in caplog.messages


async def test_without_a_bound_nothing_goes(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        await filled(rig, 2 * DAY_MS, 2 * DAY_MS)
        assert await retention(rig, 0).sweep() == 0


async def test_the_file_shrinks_after_much_was_deleted(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        at = rig.clock.now_ms() - 2 * DAY_MS

        def fill(tx: Transaction) -> None:
            for _ in range(800):
                write(tx, device, at, 16)

        await rig.db.transaction(fill)
        before = (await rig.db.reader.all(figures.room()))[0]
        await retention(rig, 1).sweep()
        after = (await rig.db.reader.all(figures.room()))[0]
        assert before.file > 12 * MIB
        assert after.file < 4 * MIB
        assert after.used <= MIB


def test_the_pace_follows_what_the_last_rows_took() -> None:
    assert following(100, 0.0) == 200
    assert following(100, GOAL_S) == 100
    assert following(100, GOAL_S * 4) == 25
    assert following(FEWEST, 10.0) == FEWEST
    assert following(MOST, 0.0) == MOST


def test_settings_refuse_what_makes_no_sense() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"max_mib": -1}, RetentionSettings)
