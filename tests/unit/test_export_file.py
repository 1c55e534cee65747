"""The file that `export` makes, beside a gateway that lets a device go: is it not whole, the device stays."""

import asyncio
import errno
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from appliance import cli, control
from appliance.config import load
from appliance.control import ControlSocket
from appliance.model.ids import new_id
from appliance.operations.moving import run_export


class Gateway:
    """Answers as a gateway does that has one device; `away` while it has let it go."""

    def __init__(self, folder: Path) -> None:
        self.id = new_id()
        self.folder = folder
        self.session = folder / "session.moved"
        with sqlite3.connect(self.session) as connection:
            connection.execute("CREATE TABLE keys (id)")
        connection.close()
        self.away = False
        self.again = False
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.commands = {"device-hand-over": self.hand_over, "device-take-back": self.take_back}

    async def hand_over(self, _details: dict[str, Any]) -> dict[str, Any]:
        self.away = True
        await self.goes_on.wait()
        identity = {"id": self.id, "name": "one"}
        return {
            "exportId": "e1",
            "again": self.again,
            "session": str(self.session.absolute()),
            "identity": identity,
        }

    async def take_back(self, _details: dict[str, Any]) -> dict[str, Any]:
        await self.goes_on.wait()
        self.away = False
        return {"id": self.id, "name": "one", "connecting": True}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    made = Gateway(tmp_path)
    socket = ControlSocket(tmp_path, made.commands)
    await socket.open()
    yield made
    await socket.close()


async def exported(gateway: Gateway, target: Path) -> int:
    phrase = gateway.folder / "phrase"
    phrase.write_text("correct horse battery")
    words = ["export", gateway.id, str(target), f"--data-dir={gateway.folder}", f"--passphrase-file={phrase}"]
    options = cli.parser().parse_args(words)
    return await asyncio.to_thread(run_export, load(None, {}, cli.overrides(options)), options)


def refuse_to_sync(monkeypatch: pytest.MonkeyPatch, kind: int, code: int) -> None:
    """From now on the disk refuses to take files, or names, for good."""
    real = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_IFMT(os.fstat(fd).st_mode) == kind:
            raise OSError(code, os.strerror(code))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFDIR])
async def test_what_is_not_for_good_on_the_disk_is_no_file_and_the_device_stays(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    (tmp_path / "stick").mkdir()
    refuse_to_sync(monkeypatch, kind, errno.EIO)
    assert await exported(gateway, tmp_path / "stick" / "device.wa") == 1
    assert list((tmp_path / "stick").iterdir()) == []
    assert not gateway.away


async def test_a_device_that_goes_while_nobody_waits_any_more_can_be_taken_back(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(control, "ANSWER_WITHIN_S", 0.3)
    gateway.goes_on.clear()
    assert await exported(gateway, tmp_path / "device.wa") == 1
    assert gateway.away
    told = capsys.readouterr()
    assert "may be gone" in told.out
    assert f"wa-gateway export --take-back {gateway.id}" in told.out
    assert "did not answer within" in told.err
    assert not (tmp_path / "device.wa").exists()
    gateway.goes_on.set()


async def test_a_gateway_that_ends_before_it_answers_may_have_let_the_device_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = Gateway(tmp_path)

    async def end(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(end, tmp_path / control.NAME):
        assert await exported(gateway, tmp_path / "device.wa") == 1
    told = capsys.readouterr()
    assert f"wa-gateway export --take-back {gateway.id}" in told.out
    assert "ended before it answered" in told.err


async def test_a_device_that_cannot_be_taken_back_is_told_beside_what_went_wrong(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stick").mkdir()
    gateway.session.unlink()
    monkeypatch.setattr(control, "ANSWER_WITHIN_S", 0.3)

    async def never(_details: dict[str, Any]) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    gateway.commands["device-take-back"] = never
    assert await exported(gateway, tmp_path / "stick" / "device.wa") == 1
    told = capsys.readouterr()
    assert f"wa-gateway export --take-back {gateway.id}" in told.out
    assert "session.moved: No such file" in told.err


async def test_a_device_of_which_there_is_an_earlier_file_stays_away(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.again = True
    refuse_to_sync(monkeypatch, stat.S_IFREG, errno.EIO)
    assert await exported(gateway, tmp_path / "device.wa") == 1
    assert gateway.away


async def test_a_share_that_keeps_names_by_itself_will_do(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_sync(monkeypatch, stat.S_IFDIR, errno.EINVAL)
    assert await exported(gateway, tmp_path / "device.wa") == 0
    assert (tmp_path / "device.wa").stat().st_mode & 0o777 == 0o600
    assert gateway.away


async def test_what_lies_there_under_the_name_of_the_part_is_not_written_to(
    gateway: Gateway, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "device.wa.part").symlink_to("precious")
    assert await exported(gateway, tmp_path / "device.wa") == 0
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "device.wa.part").exists()
