"""The control socket: a command that fails unexpectedly is answered all the same."""

import asyncio
from pathlib import Path
from typing import Any

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
