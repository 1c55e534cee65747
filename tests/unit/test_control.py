"""The control socket: a command that fails unexpectedly is answered all the same."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from appliance import control
from appliance.control import ControlSocket


async def test_a_command_that_raises_is_answered(tmp_path: Path) -> None:
    async def breaks(_details: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("nobody expected this")

    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    socket = ControlSocket(tmp_path, {"break": breaks})
    await socket.open()
    try:
        answer = await asyncio.to_thread(control.ask, tmp_path, "break")
        assert answer is not None
        assert "its log says why" in answer["error"]
    finally:
        await socket.close()
    assert unhandled


@pytest.mark.parametrize("length", [60, 107, 108, 230])
async def test_the_data_directory_may_be_deep(tmp_path: Path, length: int) -> None:
    """The kernel takes no more than 107 bytes for the path of a socket."""
    folder = tmp_path
    while (left := length - len(os.fsencode(folder / control.NAME))) > 1:
        folder /= "d" * min(left - 1, 100)
    folder.mkdir(parents=True, exist_ok=True)

    async def echo(details: dict[str, Any]) -> dict[str, Any]:
        return details

    socket = ControlSocket(folder, {"echo": echo})
    assert not control.is_open(folder)
    await socket.open()
    try:
        assert (folder / control.NAME).stat().st_mode & 0o777 == 0o600
        assert control.is_open(folder)
        assert await asyncio.to_thread(control.ask, folder, "echo", word=1) == {"word": 1}
    finally:
        await socket.close()
    assert not (folder / control.NAME).exists()
