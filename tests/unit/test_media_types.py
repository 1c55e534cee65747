"""What files are, told from their bytes; what fits which kind; what their headers say."""

import io
import struct
import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_rig import png

from appliance.engine.simulator_samples import SAMPLES
from appliance.gateway.media_facts import Facts, examine, whole_seconds
from appliance.gateway.media_types import (
    FITS,
    HEAD_SIZE,
    OPUS,
    checked_mimetype,
    ending,
    fitting,
    is_mimetype,
    sniffed,
)
from appliance.model.errors import Invalid, UnsupportedMediaType
from appliance.model.message import MEDIA_KINDS, MediaKind


def facts(tmp_path: Path, data: bytes) -> Facts:
    path = tmp_path / "file"
    path.write_bytes(data)
    return examine(path)


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def movie(handler: bytes, *, seconds: int = 7, upright: bool = False, brand: bytes = b"isom") -> bytes:
    matrix = (0, 1, 0, -1, 0) if upright else (1, 0, 0, 0, 1)
    tkhd = bytes(40) + struct.pack(">9i", *matrix, 0, 0, 0, 0) + struct.pack(">II", 640 << 16, 360 << 16)
    mvhd = bytes(12) + struct.pack(">II", 1000, seconds * 1000) + bytes(80)
    track = box(b"tkhd", tkhd) + box(b"mdia", box(b"hdlr", bytes(8) + handler + bytes(13)))
    return (
        box(b"ftyp", brand + bytes(4))
        + box(b"mdat", b"\xff" * 50)
        + box(b"moov", box(b"mvhd", mvhd) + box(b"trak", track))
    )


@pytest.mark.parametrize("kind", MEDIA_KINDS)
def test_every_sample_of_the_sandbox_is_what_it_says_and_fits_its_kind(
    tmp_path: Path, kind: MediaKind
) -> None:
    sample = SAMPLES[kind]
    found = facts(tmp_path, sample.data)
    assert fitting(kind, found.mimetype) == sample.mimetype
    assert found == Facts(sample.mimetype, sample.seconds, sample.width, sample.height)


@pytest.mark.parametrize(
    ("head", "mimetype"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),
        (b"GIF89a\x01\x00\x01\x00", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "video/x-msvideo"),
        (b"\x00\x00\x00\x18ftyp3gp4", "video/3gpp"),
        (b"\x00\x00\x00\x18ftypM4A ", "audio/mp4"),
        (b"\x00\x00\x00\x18ftypmp42", "video/mp4"),
        (b"\x00\x00\x00\x18ftypqt  ", "video/quicktime"),
        (b"\x00\x00\x00\x18ftypheic", "image/heic"),
        (b"#!AMR\n", "audio/amr"),
        (b"ID3\x04\x00", "audio/mpeg"),
        (b"\xff\xfb\x90\x64", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"\xff\xfe<\x00h\x00", None),
        (b"OggS" + bytes(24) + b"OpusHead", OPUS),
        (b"OggS" + bytes(24) + b"\x01vorbis", "audio/ogg"),
        (b"%PDF-1.7", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
        (b"\x1aE\xdf\xa3", "video/webm"),
        (b"<html>", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_the_type_is_told_from_the_first_bytes(head: bytes, mimetype: str | None) -> None:
    assert sniffed(head) == mimetype


@pytest.mark.parametrize(
    ("kind", "found"),
    [("image", "application/pdf"), ("image", None), ("video", "video/webm"), ("voice", "audio/mpeg")],
)
def test_what_does_not_fit_is_refused_naming_what_does(kind: MediaKind, found: str | None) -> None:
    with pytest.raises(UnsupportedMediaType) as refused:
        fitting(kind, found, declared="image/png")
    assert all(mimetype in refused.value.detail for mimetype in FITS[kind])
    assert refused.value.errors[0].suggestion == "document"


def test_a_document_is_what_its_sender_says_or_its_name_or_its_bytes() -> None:
    assert fitting("document", "application/zip", "text/x-own", "a.docx") == "text/x-own"
    assert fitting("document", "application/zip", None, "a.docx").endswith("wordprocessingml.document")
    assert fitting("document", "application/zip", None, "a.unknown") == "application/zip"
    assert fitting("document", None) == "application/octet-stream"


def test_a_media_type_must_look_like_one() -> None:
    assert checked_mimetype(" application/octet-stream ") is None
    assert checked_mimetype("audio/ogg; codecs=opus") == OPUS
    for wrong in ("pdf", "text/plain\r\nX-Evil: 1", "text/plain; x", "a/b/c", "é/b"):
        assert not is_mimetype(wrong)
        with pytest.raises(Invalid) as refused:
            checked_mimetype(wrong)
        assert refused.value.errors[0].field == "mimetype"


def test_names_end_as_their_type_does() -> None:
    assert [ending(t) for t in ("image/jpeg", OPUS, "text/plain; charset=utf-8", "x/y")] == [
        ".jpg",
        ".ogg",
        ".txt",
        ".bin",
    ]


def test_a_film_tells_its_length_and_size_as_shown(tmp_path: Path) -> None:
    assert facts(tmp_path, movie(b"vide")) == Facts("video/mp4", 7, 640, 360)
    assert facts(tmp_path, movie(b"vide", upright=True)) == Facts("video/mp4", 7, 360, 640)


def test_sound_under_the_brand_of_a_film_is_sound(tmp_path: Path) -> None:
    found = facts(tmp_path, movie(b"soun"))
    assert found == Facts("audio/mp4", 7)
    assert fitting("audio", found.mimetype) == "audio/mp4"


def test_a_wave_file_tells_its_length(tmp_path: Path) -> None:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(2 * 8000 * 3))
    assert facts(tmp_path, data.getvalue()) == Facts("audio/wav", 3)


def test_pictures_tell_their_size(tmp_path: Path) -> None:
    assert facts(tmp_path, png(300, 200)) == Facts("image/png", None, 300, 200)
    gif = b"GIF89a" + struct.pack("<HH", 12, 34)
    assert facts(tmp_path, gif) == Facts("image/gif", None, 12, 34)
    extended = b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + b"\xff\x01\x00\xff\x01\x00"
    assert facts(tmp_path, extended) == Facts("image/webp", None, 512, 512)


def test_play_times_are_whole_and_possible() -> None:
    assert [whole_seconds(s) for s in (None, 0, -1, float("nan"), float("inf"), 1e9)] == [None] * 6
    assert [whole_seconds(s) for s in (0.01, 1.4, 59.6)] == [1, 1, 60]


@pytest.mark.parametrize("kind", MEDIA_KINDS)
def test_a_file_cut_off_anywhere_is_still_read_without_failing(tmp_path: Path, kind: MediaKind) -> None:
    data = SAMPLES[kind].data
    for end in {*range(64), *range(64, len(data), max(1, len(data) // 40))}:
        assert facts(tmp_path, data[:end]).mimetype in {sniffed(data[:HEAD_SIZE][:end]), "audio/mp4"}


@given(st.binary(max_size=200), st.sampled_from([s.data[:24] for s in SAMPLES.values()]))
def test_no_bytes_make_reading_fail(tail: bytes, head: bytes) -> None:
    path = Path(f"/dev/shm/media-{id(tail)}")
    try:
        path.write_bytes(head + tail)
        examine(path)
    finally:
        path.unlink(missing_ok=True)
