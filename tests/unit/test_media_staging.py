"""Files on their way out: staged once, kept while their message waits, and gone after."""

import asyncio
import hashlib
import os
from pathlib import Path

import msgspec
import pytest
from media_rig import MediaRig, names, png, png64, stream, until

from appliance.engine.base import OutgoingMessage
from appliance.engine.simulator_samples import SAMPLES
from appliance.gateway.media import Staged
from appliance.gateway.media_settings import MediaSettings
from appliance.model.device import Device
from appliance.model.errors import Invalid, MediaTooLarge, UnsupportedMediaType
from appliance.model.ids import new_id
from appliance.model.message import Message, MessageStatus
from appliance.store import messages


def waiting(device: Device, staged: Staged) -> Message:
    """A message with that file, as it stands in the table while it waits."""
    note = OutgoingMessage("628111222333@s.whatsapp.net", "image", media=staged.media)
    return Message(
        id=new_id(),
        account_id=device.account_id,
        device_id=device.id,
        chat=note.to,
        from_me=True,
        via_api=True,
        kind="image",
        type="imageMessage",
        status=MessageStatus.QUEUED,
        outgoing=msgspec.json.encode(note),
        created_at=0,
        expires_at=1,
    )


async def test_base64_becomes_a_file_with_what_its_headers_tell(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        staged = await rig.media.stage_base64(f"data:image/jpeg;base64,{png64()}", "image", filename="a.png")
        file = staged.media
        assert (file.mimetype, file.size, file.filename) == ("image/png", len(png()), "a.png")
        assert (file.width, file.height, file.seconds, file.waveform) == (3, 2, None, None)
        assert staged.sha256 == hashlib.sha256(png()).digest()
        assert await asyncio.to_thread(Path(file.path).read_bytes) == png()
        assert Path(file.path).is_absolute()


async def test_a_stream_is_taken_first_and_judged_later(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        voice = SAMPLES["voice"].data
        loose = await rig.media.take(stream(voice[:100], voice[100:]))
        staged = await rig.media.fit(loose, "voice", hint="nonsense, but not the caller's")
        assert (staged.media.mimetype, staged.media.seconds) == ("audio/ogg; codecs=opus", 1)
        assert staged.sha256 == loose.sha256 == hashlib.sha256(voice).digest()


async def test_a_document_always_has_a_name_that_misleads_nobody(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        for given, shown in [
            (None, "document.png"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\me\\Réport.pdf", "Réport.pdf"),
            ("a\r\nb\u202efdp.exe", "abfdp.exe"),
            ("..", "document.png"),
            ("x" * 300 + ".pdf", "x" * 180 + ".pdf"),
        ]:
            staged = await rig.media.stage_base64(png64(), "document", filename=given)
            assert staged.media.filename == shown


async def test_an_empty_file_names_the_field_it_came_in(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        with pytest.raises(Invalid) as refused:
            await rig.media.stage_base64("", "document")
        assert refused.value.errors[0].field == "base64"
        nothing = await rig.media.take(stream())
        with pytest.raises(Invalid) as refused:
            await rig.media.fit(nothing, "document")
        assert refused.value.errors[0].field == "file"
        await until(lambda: names(tmp_path / "outgoing") == [])


async def test_a_refused_file_is_gone(tmp_path: Path) -> None:
    async with MediaRig(tmp_path, media=MediaSettings(max_bytes=2000)) as rig:
        for kind, mimetype, error in [("sticker", None, UnsupportedMediaType), ("document", "no", Invalid)]:
            loose = await rig.media.take(stream(png()))
            with pytest.raises(error):
                await rig.media.fit(loose, kind, mimetype)  # type: ignore[arg-type]
        with pytest.raises(MediaTooLarge):
            await rig.media.take(stream(bytes(1500), bytes(600)))
        await until(lambda: names(tmp_path / "outgoing") == [])


async def test_a_file_stays_while_its_message_waits_and_goes_with_it(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        device = await rig.device()
        message = waiting(device, await rig.media.stage_base64(png64(), "image"))
        message.no = await rig.db.transaction(lambda tx: messages.insert(tx, message))
        unused = await rig.media.stage_base64(png64(), "image")
        assert await rig.media.sweep(0) == 1
        assert not await asyncio.to_thread(Path(unused.media.path).exists)
        assert len(names(tmp_path / "outgoing")) == 1
        rig.media.on_done(message)
        await until(lambda: names(tmp_path / "outgoing") == [])
        rig.media.on_done(msgspec.structs.replace(message, outgoing=None))


async def test_a_borrowed_file_is_there_as_long_as_it_is_used(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        async with rig.media.borrow(
            "image", url=None, base64=png64(), filename="a.png", mimetype=None
        ) as file:
            assert await asyncio.to_thread(Path(file.path).read_bytes) == png()
        await until(lambda: names(tmp_path / "outgoing") == [])
        with pytest.raises(Invalid):
            async with rig.media.borrow("text", url=None, base64=png64(), filename=None, mimetype=None):
                pass


async def test_a_start_clears_what_a_crash_left_but_a_sweep_spares_what_is_new(tmp_path: Path) -> None:
    async with MediaRig(tmp_path) as rig:
        now_s = rig.clock.now_ms() / 1000
        fresh = await rig.media.stage_base64(png64(), "image")
        old = await rig.media.stage_base64(png64(), "image")
        os.utime(fresh.media.path, (now_s, now_s))
        os.utime(old.media.path, (now_s - 4000, now_s - 4000))
        await rig.media.sweep_old(None)
        assert names(tmp_path / "outgoing") == [Path(fresh.media.path).name]
    async with MediaRig(tmp_path, clock=rig.clock):
        assert names(tmp_path / "outgoing") == []
