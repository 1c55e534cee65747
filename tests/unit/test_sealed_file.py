"""Sealed files: what was written comes back, and nothing that was changed, cut or put together anew opens."""

import io
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from description import DOCS

from appliance.operations.archive import ArchiveWriter
from appliance.operations.sealed_file import (
    MAGIC,
    PIECE,
    Damaged,
    Effort,
    NotSealed,
    SealedReader,
    SealedWriter,
    WrongPassphrase,
)

PHRASE = "correct horse battery staple"
QUICK = Effort(memory_kib=64, passes=1)
HEADER, TAG = 56, 16
WHOLE = PIECE + TAG


def content_of(size: int) -> bytes:
    """Bytes of which no two pieces are alike."""
    return b"".join(n.to_bytes(8, "big") for n in range(size // 8 + 1))[:size]


def sealed(content: bytes, phrase: str = PHRASE) -> bytes:
    out = io.BytesIO()
    writer = SealedWriter(out, phrase, QUICK)
    for at in range(0, len(content), 300_000):
        writer.write(content[at : at + 300_000])
    writer.finish()
    return out.getvalue()


def opened(file: bytes, phrase: str = PHRASE) -> bytes:
    reader = SealedReader(io.BytesIO(file), phrase)
    parts = []
    while part := reader.read(700_001):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 5])
def test_what_is_sealed_opens(size: int) -> None:
    content = content_of(size)
    file = sealed(content)
    pieces = max(1, -(-size // PIECE))
    assert len(file) == HEADER + size + pieces * TAG
    assert opened(file) == content
    assert size < 16 or content[:16] not in file


def test_the_same_content_is_never_sealed_alike() -> None:
    assert sealed(b"x" * 100)[HEADER:] != sealed(b"x" * 100)[HEADER:]


def test_a_passphrase_is_its_letters_however_they_were_typed() -> None:
    assert opened(sealed(b"x", "cafe\u0301 noir"), "caf\u00e9 noir") == b"x"


def test_another_passphrase_is_told_from_damage() -> None:
    with pytest.raises(WrongPassphrase):
        opened(sealed(content_of(100)), "correct horse battery stable")


@pytest.mark.parametrize(
    "at", [HEADER, HEADER + 9, HEADER + PIECE, HEADER + WHOLE, HEADER + 2 * WHOLE + 4, -1]
)
def test_one_bit_changed_does_not_open(at: int) -> None:
    file = bytearray(sealed(content_of(2 * PIECE + 5)))
    file[at] ^= 1
    with pytest.raises(Damaged):
        opened(bytes(file))


@pytest.mark.parametrize(
    "left", [HEADER, HEADER + 3, HEADER + WHOLE, HEADER + 2 * WHOLE, HEADER + 2 * WHOLE + 20]
)
def test_a_file_that_was_cut_short_does_not_open(left: int) -> None:
    with pytest.raises(Damaged):
        opened(sealed(content_of(2 * PIECE + 5))[:left])


def test_pieces_put_together_differently_do_not_open() -> None:
    file = sealed(content_of(3 * PIECE))
    head = file[:HEADER]
    one, two, three = (file[HEADER + n * WHOLE :][:WHOLE] for n in range(3))
    assert opened(head + one + two + three) == content_of(3 * PIECE)
    for pieces in (
        (two, one, three),
        (one, three),
        (one, two, two, three),
        (one, two, three, three),
        (three,),
    ):
        with pytest.raises(Damaged):
            opened(head + b"".join(pieces))


def test_pieces_of_another_file_do_not_fit() -> None:
    ours, theirs = sealed(content_of(2 * PIECE)), sealed(content_of(2 * PIECE))
    with pytest.raises(Damaged):
        opened(ours[: HEADER + WHOLE] + theirs[HEADER + WHOLE :])


@pytest.mark.parametrize("at", [16, 19, 23, 24, 39, 40, 55])
def test_a_changed_header_does_not_open(at: int) -> None:
    file = bytearray(sealed(content_of(100)))
    file[at] ^= 2
    with pytest.raises((NotSealed, WrongPassphrase)):
        opened(bytes(file))


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"SQLite format 3\0" * 20,
        MAGIC,
        b"WA-GATEWAY-SEAL\x02" + bytes(100),
        MAGIC + struct.pack(">IHH", 2**32 - 1, 1, 1) + bytes(100),
        MAGIC + struct.pack(">IHH", 65536, 65535, 1) + bytes(100),
        MAGIC + struct.pack(">IHH", 65536, 1, 0) + bytes(100),
    ],
    ids=["empty", "another file", "too short", "a later format", "all memory", "an hour", "no lane"],
)
def test_what_is_no_sealed_file_is_refused_at_once(file: bytes) -> None:
    with pytest.raises(NotSealed):
        opened(file)


def test_the_documented_way_opens_it(tmp_path: Path) -> None:
    program = re.findall(r"```python\n(.*?)```", (DOCS / "en" / "backup.md").read_text("utf-8"), re.S)[0]
    content = content_of(2 * PIECE + 5)
    with (tmp_path / "sealed").open("wb") as out:
        writer = SealedWriter(out, PHRASE, QUICK)
        archive = ArchiveWriter(writer, io.BytesIO())
        archive.add("gateway.db", io.BytesIO(content), len(content), lambda _: None)
        archive.finish()
        writer.finish()
    arguments = ["-c", program, "sealed", f" {PHRASE}\n", "archive.tar"]
    subprocess.run([sys.executable, *arguments], cwd=tmp_path, check=True)
    subprocess.run(["tar", "-xf", "archive.tar"], cwd=tmp_path, check=True)
    subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "gateway.db").read_bytes() == content
