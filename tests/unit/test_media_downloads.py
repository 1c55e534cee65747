"""Received files: fetched, then told once with a link that works; or told with what is wrong."""

import asyncio
from pathlib import Path

import pytest
from media_rig import MediaRig, names, offline, until

from appliance.engine.base import EngineError, PretendMessage
from appliance.engine.simulator_samples import SAMPLES
from appliance.gateway.downloads import WAIT_LIMIT_S
from appliance.gateway.media_settings import MediaSettings
from appliance.model.device import DeviceStatus
from appliance.model.errors import MediaError
from appliance.store import messages

IMAGE = SAMPLES["image"].data
QUIET_S = 0.05
"""Long enough for a download that does not wait to show itself."""


async def test_a_message_is_told_once_its_file_is_here(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        message_id = await rig.receive(device, "document", filename="Invoice 7.pdf", text="Here it is")
        [told] = await rig.told_as(device, 1)
        served = await rig.shelf.of_message(device.account_id, message_id)
        assert told["id"] == message_id
        assert told["text"] == "Here it is"
        assert told["media"] == {
            "id": served.file.id,
            "kind": "document",
            "mimetype": "application/pdf",
            "size": len(SAMPLES["document"].data),
            "filename": "Invoice 7.pdf",
            "url": told["media"]["url"],
            "urlExpiresAt": (rig.clock.now_ms() // 1000 + 8 * 86_400) * 1000,
        }
        read = b"".join([block async for block in rig.shelf.read(served)])
        assert read == SAMPLES["document"].data
        assert names(tmp_path / "media") == [served.file.id]
        assert await rig.db.reader.all(messages.untold()) == []


async def test_files_are_told_in_the_order_they_came(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        sent = [await rig.receive(device, kind) for kind in ("image", "voice", "video", "sticker", "audio")]
        told = await rig.told_as(device, 5)
        assert [data["id"] for data in told] == sent
        assert [data["media"].get("seconds") for data in told] == [None, 1, 1, None, 1]


async def test_a_file_that_is_no_longer_there_is_told_with_its_error(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        message_id = await rig.receive(device, broken=True)
        [told] = await rig.told_as(device, 1)
        assert told["media"]["error"] == "media_unavailable"
        assert "url" not in told["media"]
        with pytest.raises(MediaError, match="media_unavailable"):
            await rig.shelf.of_message(device.account_id, message_id)
        assert names(tmp_path / "media") == []


async def test_a_file_over_the_limit_is_not_fetched(tmp_path: Path) -> None:
    failures: list[Exception] = [EngineError("engine_error", "must not be asked")]
    settings = MediaSettings(max_bytes=len(IMAGE) - 1)
    async with MediaRig(tmp_path, media=settings, failures=failures) as rig:
        device = await rig.device()
        await rig.receive(device)
        [told] = await rig.told_as(device, 1)
        assert told["media"]["error"] == "media_too_large"
        assert len(failures) == 1


async def test_passing_trouble_is_outlived(tmp_path: Path) -> None:
    failures: list[Exception] = [
        EngineError("engine_timeout", "slow", unknown_outcome=True),
        *(offline() for _ in range(5)),
        OSError(5, "Input/output error"),
    ]
    async with MediaRig(tmp_path, failures=failures) as rig:
        device = await rig.device()
        await rig.receive(device)
        [told] = await rig.told_as(device, 1)
        assert "error" not in told["media"]
        assert failures == []


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (EngineError("engine_error", "?"), "media_unreachable"),
        (TimeoutError(), "media_unreachable"),
        (OSError(28, "No space left on device"), "storage_full"),
    ],
)
async def test_lasting_trouble_is_told(tmp_path: Path, failure: Exception, code: str) -> None:
    async with MediaRig(tmp_path, failures=[failure] * 3) as rig:
        device = await rig.device()
        await rig.receive(device)
        [told] = await rig.told_as(device, 1)
        assert told["media"]["error"] == code
        await rig.receive(device)
        assert "error" not in (await rig.told_as(device, 2))[1]["media"]


async def test_a_device_that_is_away_is_waited_for(tmp_path: Path) -> None:
    async with MediaRig(tmp_path, fetch=False) as rig:
        device = await rig.device()
        await rig.receive(device)
        await rig.state(device, DeviceStatus.RECONNECTING)
        fetching = asyncio.create_task(rig.downloads.run())
        text = PretendMessage(text="A text overtakes", phone="628111222333")
        writing = asyncio.create_task(rig.simulator.write(device.id, text))
        await asyncio.sleep(QUIET_S)
        assert await rig.told(device) == []
        await rig.state(device, DeviceStatus.CONNECTED)
        await writing
        told = await rig.told_as(device, 2)
        assert {"media" in data for data in told} == {True, False}
        fetching.cancel()


async def test_a_device_that_stays_away_is_given_up_in_the_end(tmp_path: Path) -> None:
    async with MediaRig(tmp_path, fetch=False) as rig:
        device = await rig.device()
        await rig.receive(device)
        await rig.state(device, DeviceStatus.RECONNECTING)
        fetching = asyncio.create_task(rig.downloads.run())
        await asyncio.sleep(QUIET_S)
        assert await rig.told(device) == []
        rig.clock.advance(WAIT_LIMIT_S + 1)
        rig.events.wake(device.account_id)
        [told] = await rig.told_as(device, 1)
        assert told["media"]["error"] == "media_unreachable"
        fetching.cancel()


async def test_an_unlinked_device_is_not_waited_for(tmp_path: Path) -> None:
    async with MediaRig(tmp_path, fetch=False) as rig:
        device = await rig.device()
        await rig.receive(device)
        await rig.devices.logout(device.account_id, device.id)
        fetching = asyncio.create_task(rig.downloads.run())
        [told] = await rig.told_as(device, 1)
        assert told["media"]["error"] == "media_unreachable"
        fetching.cancel()


async def test_what_a_crash_interrupted_is_told_once_after_the_next_start(tmp_path: Path) -> None:
    async with MediaRig(tmp_path, fetch=False) as rig:
        device = await rig.device()
        sent = [await rig.receive(device) for _ in range(3)]
        await rig.db.transaction(lambda tx: messages.mark_told(tx, 1))
        torn = tmp_path / "media" / device.id / "xx" / "half.new"
        await asyncio.to_thread(torn.parent.mkdir, parents=True)
        await asyncio.to_thread(torn.write_bytes, b"half")
    async with MediaRig(tmp_path, clock=rig.clock) as rig:
        await rig.devices.resume()
        told = await rig.told_as(device, 2)
        assert [data["id"] for data in told] == sent[1:]
        assert "half.new" not in names(tmp_path / "media")
    async with MediaRig(tmp_path, clock=rig.clock) as rig:
        await rig.devices.resume()
        assert len(await rig.told(device)) == 2


async def test_an_undecryptable_message_with_a_file_is_told_again_as_an_update(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        unread = PretendMessage(kind="undecryptable", phone="628111222333", wa_id="3EB0AA")
        await rig.simulator.write(device.id, unread)
        await rig.receive(device, wa_id="3EB0AA")
        first, second = await rig.told_as(device, 2)
        assert (first["type"], first.get("update")) == ("undecryptable", None)
        assert (second["kind"], second["update"]) == ("image", True)
        assert second["id"] == first["id"]
        assert "url" in second["media"]


async def test_a_deleted_device_takes_its_files_along(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device, other = await rig.device(), await rig.device()
        await rig.receive(device)
        await rig.receive(other)
        await rig.told_as(device, 1)
        await rig.told_as(other, 1)
        assert len(names(tmp_path / "media")) == 2
        await rig.devices.delete(device.account_id, device.id)
        await until(lambda: len(names(tmp_path / "media")) == 1)
    stray = tmp_path / "media" / "cdeleteddevice" / "xx" / "file"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"x")
    async with MediaRig(tmp_path, clock=rig.clock):
        assert len(names(tmp_path / "media")) == 1
