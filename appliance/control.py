"""The control socket: commands on this machine ask the running gateway, so that there is never a second
writer."""

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from appliance.model.errors import GatewayError

log = logging.getLogger(__name__)

NAME = "control.sock"
LINE_LIMIT = 64 * 1024
ANSWER_WITHIN_S = 60.0
_LONGEST = 107
"""Bytes of a socket's path: unix(7)."""

Command = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlSocket:
    """Answers one JSON line with one JSON line on `<data>/control.sock`, which only the gateway's user may
    open."""

    def __init__(self, folder: Path, commands: Mapping[str, Command]) -> None:
        self._path = folder / NAME
        self._commands = commands
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen; a socket that a killed gateway left behind is replaced."""
        self._path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            with _short(self._path) as path:
                self._server = await asyncio.start_unix_server(self._answer, path, limit=LINE_LIMIT)
        finally:
            os.umask(mask)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Said also when the command raises what nobody expected, which asyncio then logs.
        answer: dict[str, Any] = {"error": "The running gateway could not do it: its log says why."}
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                line = await reader.readline()
            if line.endswith(b"\n"):
                answer = await self._carry_out(json.loads(line))
        finally:
            with contextlib.suppress(OSError):
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
            writer.close()

    async def _carry_out(self, request: dict[str, Any]) -> dict[str, Any]:
        command = self._commands.get(str(request.pop("command", "")))
        if command is None:
            return {"error": "The running gateway does not know this command; is it of the same version?"}
        try:
            return await command(request)
        except GatewayError as error:
            return {"error": error.detail}


def is_open(folder: Path) -> bool:
    """Whether a gateway runs on that directory and takes commands."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return _connect(client, folder)


def ask(folder: Path, command: str, **arguments: Any) -> dict[str, Any] | None:
    """The running gateway's answer, None when none runs on that directory."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(ANSWER_WITHIN_S)
        if not _connect(client, folder):
            return None
        client.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
        with client.makefile("rb") as answers:
            answer: dict[str, Any] = json.loads(answers.readline())
            return answer


def _connect(client: socket.socket, folder: Path) -> bool:
    try:
        with _short(folder / NAME) as path:
            client.connect(path)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path as the kernel takes it for a socket: of a longer one, its folder is named by a descriptor."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
