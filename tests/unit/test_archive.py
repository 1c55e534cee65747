"""The archive within a backup: a tar that other programs read, whose sums are checked."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from appliance.operations.archive import SUMS, ArchiveDamaged, ArchiveWriter, members

FILES = {
    "note.json": b"{}",
    "empty": b"",
    "media/a/b/c": b"x" * 512,
    "gateway.db": bytes(range(256)) * 3000,
}


def archive(files: dict[str, bytes] = FILES) -> bytes:
    out = io.BytesIO()
    told: list[int] = []
    writer = ArchiveWriter(out, io.BytesIO())
    for name, content in files.items():
        writer.add(name, io.BytesIO(content), len(content), told.append)
    writer.finish()
    assert sum(told) == sum(map(len, files.values()))
    return out.getvalue()


def read(data: bytes) -> dict[str, bytes]:
    return {member.name: b"".join(member.blocks) for member in members(io.BytesIO(data))}


def test_what_was_put_in_comes_out() -> None:
    assert read(archive()) == FILES


def test_what_is_passed_over_is_checked_all_the_same() -> None:
    data = bytearray(archive())
    assert [member.name for member in members(io.BytesIO(data))] == list(FILES)
    data[data.index(b"x" * 512)] = 0
    with pytest.raises(ArchiveDamaged, match="sum"):
        list(members(io.BytesIO(data)))


def test_tar_and_sha256sum_read_it(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(archive())
    with tarfile.open(tmp_path / "archive") as tar:
        assert tar.getnames() == [*FILES, SUMS]
    subprocess.run(["tar", "-xf", "archive"], cwd=tmp_path, check=True)
    said = subprocess.run(["sha256sum", "-c", SUMS], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert said.stdout.count(": OK") == len(FILES)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES


@pytest.mark.parametrize("left", [0, 512, 700, 1024, -1024, -1, -512 * 4])
def test_an_archive_that_was_cut_short_is_refused(left: int) -> None:
    with pytest.raises(ArchiveDamaged):
        read(archive()[:left])


def test_what_follows_the_end_is_refused() -> None:
    with pytest.raises(ArchiveDamaged):
        read(archive() + b"\0")


def test_a_file_that_shrinks_while_it_is_read_ends_the_archive() -> None:
    writer = ArchiveWriter(io.BytesIO(), io.BytesIO())
    with pytest.raises(ArchiveDamaged):
        writer.add("spool", io.BytesIO(b"short"), 6, lambda _: None)


def test_only_files_are_taken() -> None:
    info = tarfile.TarInfo("gateway.db")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(ArchiveDamaged, match="not a file"):
        read(info.tobuf() + archive())
