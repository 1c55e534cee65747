"""Every kind of file both ways, over the loopback network."""

import asyncio
import base64
from functools import partial
from pathlib import Path

import pytest
from engine_harness import ANN, BEA, Bench, linked_bench, shortened
from loopback.letters import Received
from loopback.phone import Phone

from appliance.engine.base import EngineError, MessageIn, OutgoingMedia, OutgoingMessage
from appliance.model.message import MEDIA_KINDS

TO_BEA = f"{BEA}@s.whatsapp.net"
MIMETYPES = {
    "image": "image/jpeg",
    "video": "video/mp4",
    "audio": "audio/mpeg",
    "voice": "audio/ogg; codecs=opus",
    "document": "application/pdf",
    "sticker": "image/webp",
}
FIELDS = {"voice": "audioMessage"}


def content_of(kind: str) -> bytes:
    return f"the bytes of a {kind}, ".encode() * 200


async def send_file(b: Bench, folder: Path, kind: str) -> OutgoingMessage:
    file = folder / f"out-{kind}"
    await asyncio.to_thread(file.write_bytes, content_of(kind))
    media = OutgoingMedia(
        str(file),
        MIMETYPES[kind],
        len(content_of(kind)),
        filename=f"a {kind}.bin",
        seconds=7 if kind in {"audio", "voice", "video"} else None,
        waveform=bytes(range(64)) if kind == "voice" else None,
    )
    return OutgoingMessage(TO_BEA, kind, text=None if kind == "sticker" else f"my {kind}", media=media)


async def test_every_kind_of_file_arrives(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        for kind in MEDIA_KINDS:
            sent = await session.send(await send_file(b, tmp_path, kind))
            got = await arrived(b, sent.wa_id)
            part = getattr(got.content, FIELDS.get(kind, f"{kind}Message"))
            assert b.net.phones[BEA].download(got) == content_of(kind)
            assert part.mimetype == MIMETYPES[kind]
            if kind == "voice":
                assert (part.PTT, part.seconds, part.waveform) == (True, 7, bytes(range(64)))
            elif kind == "document":
                assert (part.fileName, part.caption) == ("a document.bin", "my document")
                assert got.message.HasField("documentWithCaptionMessage")
            elif kind in {"image", "video"}:
                assert part.caption == f"my {kind}"


async def arrived(b: Bench, wa_id: str) -> Received:
    def matches(message: Received) -> bool:
        return message.id == wa_id

    return await asyncio.to_thread(b.net.on_phone, BEA, lambda phone: phone.wait_for(matches))


async def test_every_kind_of_file_is_told_and_can_be_fetched(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        for kind in MEDIA_KINDS:
            seconds = 7 if kind in {"audio", "voice", "video"} else 0
            caption = f"look, a {kind}" if kind in {"image", "video", "document"} else ""
            name = "report.pdf" if kind == "document" else ""
            send = partial(
                Phone.send_media,
                to=ANN,
                kind=kind,
                data=content_of(kind),
                seconds=seconds,
                caption=caption,
                filename=name,
            )
            told = await b.heard.message("d1", await asyncio.to_thread(b.net.on_phone, BEA, send))
            assert told.kind == kind
            assert told.type == FIELDS.get(kind, f"{kind}Message")
            assert told.text == (caption or None)
            assert told.media is not None
            assert told.media.size == len(content_of(kind))
            assert told.media.filename == (name or None)
            assert told.media.seconds == (seconds or None)
            part = told.content[told.type]
            assert part["fileLength"] == str(len(content_of(kind)))
            assert len(base64.b64decode(part["fileSha256"])) == 32
            assert part["url"].startswith("https://")
            path = tmp_path / f"in-{kind}"
            assert await session.download(told.media.source, path) == len(content_of(kind))
            assert await asyncio.to_thread(path.read_bytes) == content_of(kind)


async def test_a_file_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        await asyncio.to_thread(b.net.on_phone, BEA, lambda p: p.send_media(ANN, "image", b"x" * 99))
        told = await b.heard.wait("d1", MessageIn, lambda m: m.kind == "image")
        assert told.media is not None
        b.net.faults.media_status = 404
        with pytest.raises(EngineError) as refused:
            await session.download(told.media.source, tmp_path / "never")
        assert refused.value.code == "media_unavailable"
        assert not (tmp_path / "never").exists()


async def test_an_upload_that_hangs_was_not_sent(tmp_path: Path) -> None:
    async with linked_bench(tmp_path, deadlines=shortened(media_s=1.5)) as b:
        session = await b.resume()
        b.net.faults.media_delay_s = 30
        with pytest.raises(EngineError) as refused:
            await session.send(await send_file(b, tmp_path, "image"))
        assert refused.value.code == "engine_timeout"
        assert not refused.value.unknown_outcome


async def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        media = OutgoingMedia(str(tmp_path / "nothing"), "image/png", 3)
        with pytest.raises(EngineError) as refused:
            await session.send(OutgoingMessage(TO_BEA, "image", media=media))
        assert refused.value.code == "media_unavailable"
