"""Received files on the shelf: links, tenancy, retention."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from media_rig import MediaRig, names

from appliance.gateway import media_links
from appliance.gateway.media_settings import MediaSettings
from appliance.gateway.retention import Retention, RetentionSettings
from appliance.model.device import Device
from appliance.model.errors import MediaError, NotFound
from appliance.model.media import MediaFile, MediaState
from appliance.store import media

DAY_S = 86_400


async def received(rig: MediaRig, device: Device, **more: str) -> tuple[str, str]:
    """A file that came: its message's id, and the link that was told."""
    before = len(await rig.told(device))
    message_id = await rig.receive(device, **more)
    told = (await rig.told_as(device, before + 1))[-1]
    return message_id, told["media"]["url"]


async def opened(rig: MediaRig, link: str, **changed: str) -> bytes:
    """What the link's parts open, some of them changed."""
    parts = urlsplit(link)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changed
    media_id = changed.get("media_id", parts.path.rpartition("/")[2])
    served = await rig.shelf.linked(media_id, query["expires"], query["signature"])
    return b"".join([block async for block in rig.shelf.read(served)])


async def test_a_told_link_opens_its_file_for_eight_days(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        _, link = await received(rig, device)
        pattern = r"https://gateway\.example/api/media/c[a-z0-9]{24}\?expires=\d+&signature=[\w-]{43}"
        assert re.fullmatch(pattern, link)
        whole = await opened(rig, link)
        rig.clock.advance(8 * DAY_S - 1)
        assert await opened(rig, link) == whole
        rig.clock.advance(1)
        with pytest.raises(NotFound, match="expired"):
            await opened(rig, link)


async def test_a_changed_link_opens_nothing(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        _, one = await received(rig, device)
        _, other = await received(rig, device, kind="voice")
        stranger = urlsplit(other).path.rpartition("/")[2]
        late = str(rig.clock.now_ms() // 1000 + 9 * DAY_S)
        changes = [
            {"media_id": stranger},
            {"expires": late},
            *({"expires": e} for e in ("", "-1", "1e99", "9" * 40, "٣")),
            *({"signature": s} for s in ("", "x" * 43, "é")),
        ]
        for changed in changes:
            with pytest.raises(NotFound):
                await opened(rig, one, **changed)


async def test_somebody_elses_file_does_not_exist(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device, stranger = await rig.device(), await rig.device()
        message_id, _ = await received(rig, device)
        assert (await rig.shelf.of_message(device.account_id, message_id)).size > 0
        for account_id, any_id in [(stranger.account_id, message_id), (device.account_id, "nothing")]:
            with pytest.raises(NotFound):
                await rig.shelf.of_message(account_id, any_id)


async def test_a_range_of_a_file_can_be_read(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        message_id, _ = await received(rig, device)
        served = await rig.shelf.of_message(device.account_id, message_id)
        whole = b"".join([block async for block in rig.shelf.read(served)])
        for start, end in [(0, 1), (5, 300), (served.size - 1, served.size), (7, 7)]:
            part = b"".join([block async for block in rig.shelf.read(served, start, end)])
            assert part == whole[start:end]


async def test_files_go_after_their_days_and_say_so(tmp_path: Path) -> None:
    async with MediaRig(tmp_path, media=MediaSettings(keep_days=2)) as rig:
        device = await rig.device()
        old, _ = await received(rig, device)
        rig.clock.advance(1.5 * DAY_S)
        young, _ = await received(rig, device)
        rig.clock.advance(0.6 * DAY_S)
        retention = Retention(rig.db, rig.clock, RetentionSettings(), rig.media)
        await retention.sweep()
        with pytest.raises(MediaError, match="days that files are kept"):
            await rig.shelf.of_message(device.account_id, old)
        kept = await rig.shelf.of_message(device.account_id, young)
        assert names(tmp_path / "media") == [kept.file.id]
        assert await rig.shelf.sweep() == 0


async def test_zero_days_keep_files_for_ever(tmp_path: Path) -> None:
    async with MediaRig(tmp_path, media=MediaSettings(keep_days=0)) as rig:
        device = await rig.device()
        await received(rig, device)
        rig.clock.advance(10_000 * DAY_S)
        assert await rig.shelf.sweep() == 0
        assert len(names(tmp_path / "media")) == 1


async def test_files_go_with_their_messages(tmp_path: Path) -> None:
    async with MediaRig(tmp_path, media=MediaSettings(keep_days=14)) as rig:
        device = await rig.device()
        message_id, _ = await received(rig, device)
        rig.clock.advance(3 * DAY_S)
        await Retention(rig.db, rig.clock, RetentionSettings(messages_days=2), rig.media).sweep()
        assert names(tmp_path / "media") == []
        assert await rig.db.reader.all(media.of_device(device.account_id, device.id)) == []
        with pytest.raises(NotFound):
            await rig.shelf.of_message(device.account_id, message_id)


async def test_a_file_lost_from_the_disk_is_said(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        message_id, _ = await received(rig, device)
        served = await rig.shelf.of_message(device.account_id, message_id)
        await rig.shelf.delete([served.file])
        with pytest.raises(MediaError, match="no longer"):
            await rig.shelf.of_message(device.account_id, message_id)


@pytest.mark.parametrize(
    ("filename", "mimetype", "disposition", "content_type"),
    [
        ("a b.pdf", "application/pdf", "filename=\"a b.pdf\"; filename*=UTF-8''a%20b.pdf", "application/pdf"),
        (
            'x"\r\nSet-Cookie: a=b',
            "text/html\r\nX: 1",
            'filename="x_Set-Cookie_ a_b"',
            "application/octet-stream",
        ),
        ("Ré.png", "image/png", "filename=\"R_.png\"; filename*=UTF-8''R%C3%A9.png", "image/png"),
        (None, "image/jpeg", 'filename="cid.jpg"', "image/jpeg"),
    ],
)
def test_headers_let_nobody_in(
    filename: str | None, mimetype: str, disposition: str, content_type: str
) -> None:
    file = MediaFile(
        id="cid",
        account_id="a",
        device_id="d",
        kind="document",
        mimetype=mimetype,
        filename=filename,
        state=MediaState.STORED,
        created_at=0,
    )
    found = media_links.headers(file)
    assert found["Content-Disposition"].startswith("attachment; ")
    assert disposition in found["Content-Disposition"]
    assert found["Content-Type"] == content_type
    assert found["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in found["Content-Security-Policy"]
    assert all(c.isprintable() and c.isascii() for value in found.values() for c in value)
