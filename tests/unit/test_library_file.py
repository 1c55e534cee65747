"""The Go library is the one this program was written for, and any other is refused."""

import base64
import importlib.metadata
import shutil
from pathlib import Path

import pytest

from appliance.engine.library_file import VERSION, LibraryError, LibraryFile


@pytest.fixture
def damaged(tmp_path: Path) -> LibraryFile:
    """A copy of the library in which one bit is another."""
    good = LibraryFile.here()
    path = Path(shutil.copy(good.path, tmp_path))
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    return LibraryFile(path, good.sha256)


def test_the_sum_written_down_is_the_wheel_s_own() -> None:
    library = LibraryFile.here()
    wheel = importlib.metadata.distribution("neonize")
    assert wheel.version == VERSION
    (record,) = (file for file in wheel.files or () if file.name == library.path.name)
    assert record.hash is not None
    assert record.hash.mode == "sha256"
    assert base64.urlsafe_b64decode(record.hash.value + "=").hex() == library.sha256


def test_the_library_that_is_here_is_good() -> None:
    LibraryFile.here().check_once()


def test_one_other_bit_is_refused_each_time(damaged: LibraryFile) -> None:
    for _ in range(2):
        with pytest.raises(
            LibraryError, match=r"neonize-linux-\w+\.so is damaged: its SHA-256 is [0-9a-f]{64}"
        ):
            damaged.check_once()


def test_a_file_mended_meanwhile_is_taken_and_then_trusted(damaged: LibraryFile) -> None:
    with pytest.raises(LibraryError):
        damaged.check_once()
    shutil.copy(LibraryFile.here().path, damaged.path)
    damaged.check_once()
    damaged.path.unlink()
    damaged.check_once()


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match=r"neonize-linux-lost\.so: No such file"):
        LibraryFile(tmp_path / "neonize-linux-lost.so", "").check()
