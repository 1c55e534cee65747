"""Taking files in: every way a base64 text is written, limits, full disks, nothing left of refusals."""

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from media_rig import names, png, png64, stream

from appliance.gateway.media_intake import BLOCK_SIZE, decoded, disk_error, take_in
from appliance.model.errors import Invalid, MediaTooLarge, StorageFull
from appliance.store.database import StoreError

WILD = bytes(range(256)) + b"\xfb\xff"


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(WILD).decode(),
        base64.urlsafe_b64encode(WILD).decode(),
        base64.b64encode(WILD).decode().rstrip("="),
        base64.encodebytes(WILD).decode().replace("\n", "\r\n"),
    ],
)
def test_base64_is_taken_as_encoders_write_it(text: str) -> None:
    assert decoded(text, 1000) == (WILD, None)


def test_a_data_url_brings_its_type() -> None:
    assert decoded(f"data:image/png;base64,{png64()}", 1000) == (png(), "image/png")
    assert decoded(f"DATA:text/plain;charset=utf-8;base64,{png64()}", 1000)[1] == "text/plain;charset=utf-8"
    assert decoded(f"data:;base64,{png64()}", 1000) == (png(), "")


@pytest.mark.parametrize("text", ["nonsense!", "data:image/png,abc", "data:image/png;base64", "A", "äää"])
def test_what_is_not_base64_names_its_field(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        decoded(text, 1000)
    assert refused.value.errors[0].field == "base64"


def test_base64_is_bounded_by_what_it_decodes_to() -> None:
    assert len(decoded(base64.b64encode(bytes(999)).decode(), 999)[0]) == 999
    for size in (1000, 5000):
        with pytest.raises(MediaTooLarge, match="999 bytes"):
            decoded(base64.b64encode(bytes(size)).decode(), 999)


async def test_a_file_comes_whole_however_it_is_cut(tmp_path: Path) -> None:
    data = bytes(range(256)) * (BLOCK_SIZE // 100)
    pieces = [data[i : i + 70_001] for i in range(0, len(data), 70_001)]
    taken = await take_in(stream(*pieces), tmp_path / "file", len(data))
    assert (tmp_path / "file").read_bytes() == data
    assert taken.size == len(data)
    assert taken.sha256 == hashlib.sha256(data).digest()


async def test_a_file_over_the_limit_is_not_kept_and_not_read_on(tmp_path: Path) -> None:
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield bytes(1000)

    with pytest.raises(MediaTooLarge):
        await take_in(endless(), tmp_path / "file", 2500)
    assert asked == 3
    assert names(tmp_path) == []


async def test_nothing_is_left_of_a_file_that_broke_off(tmp_path: Path) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield bytes(2 * BLOCK_SIZE)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await take_in(breaking(), tmp_path / "file", 10 * BLOCK_SIZE)
    assert names(tmp_path) == []


async def test_a_folder_that_cannot_be_written_is_said() -> None:
    with pytest.raises(StoreError):
        await take_in(stream(b"x"), Path("/proc/no-such-file"), 10)


def test_a_full_disk_is_told_from_a_failing_one() -> None:
    assert isinstance(disk_error(OSError(28, "No space left on device")), StorageFull)
    assert isinstance(disk_error(OSError(5, "Input/output error")), StoreError)
    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(OSError, match="space") as refused:
        file.write(b"x")
    assert isinstance(disk_error(refused.value), StorageFull)
