"""How workers come to life: executed one by one, or forked from the fork server."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Protocol

from appliance.engine.environment import for_go

log = logging.getLogger(__name__)

_PID = struct.Struct("=i")
_ANSWER_S = 10.0


def own_command() -> list[str]:
    """How this very program is started again with a sub-command."""
    return [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "appliance"]


class Worker(Protocol):
    """What runs one session. `pid` is its process."""

    pid: int

    def kill(self) -> None:
        """End it at once, whatever it is doing. Harmless when it is dead."""

    async def dead(self) -> None:
        """Returns when it has ended; may be called once."""


class WorkerProcess:
    """A worker that is a process, held by its pidfd: its number may be somebody else's by then."""

    def __init__(self, pid: int, pidfd: int, child: "subprocess.Popen[bytes] | None" = None) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._child = child

    def kill(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def dead(self) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self._child is not None:
            self._child.wait()


class Launcher(Protocol):
    """Makes workers. Both calls may raise OSError."""

    async def launch(self, worker_socket: socket.socket) -> Worker:
        """Start a worker on its end of the socketpair; the caller closes that end afterwards."""
        ...

    async def close(self) -> None:
        """Let go of every helper; workers live on."""


class ExecLauncher:
    """Executes each worker."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = [*(command or own_command()), "session-worker"]

    async def launch(self, worker_socket: socket.socket) -> WorkerProcess:
        child = await asyncio.to_thread(_execute, self._command, worker_socket)
        return WorkerProcess(child.pid, os.pidfd_open(child.pid), child)

    async def close(self) -> None:
        return None


class ForkServerLauncher:
    """Asks the fork server for workers; starts it with the first one, and again when it has died."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = [*(command or own_command()), "fork-server"]
        self._fallback = ExecLauncher(command)
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The fork server's process, None while there is none."""
        return self._server.pid if self._server is not None else None

    async def launch(self, worker_socket: socket.socket) -> WorkerProcess:
        async with self._one_at_a_time:
            for _ in range(2):  # a server that died unnoticed is replaced once
                try:
                    return await asyncio.to_thread(self._ask, worker_socket)
                except OSError as error:
                    log.warning("fork_server_lost", extra={"error": type(error).__name__})
                    await asyncio.to_thread(self._drop)
        return await self._fallback.launch(worker_socket)

    async def close(self) -> None:
        async with self._one_at_a_time:
            await asyncio.to_thread(self._drop)

    def _ask(self, worker_socket: socket.socket) -> WorkerProcess:
        control = self._control or self._start()
        socket.send_fds(control, [b"w"], [worker_socket.fileno()])
        message, fds, _, _ = socket.recv_fds(control, _PID.size, 1)
        if not fds:
            raise ConnectionError("the fork server ended")
        os.set_inheritable(fds[0], False)
        return WorkerProcess(_PID.unpack(message)[0], fds[0])

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = _execute(self._command, theirs)
        self._control = ours
        ours.settimeout(_ANSWER_S)
        if not ours.recv(_PID.size):
            raise ConnectionError("the fork server did not start")
        log.info("fork_server_started", extra={"pid": self._server.pid})
        return ours

    def _drop(self) -> None:
        """Close the socket, which ends the server; kill one that does not see it."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._server is not None:
            try:
                self._server.wait(1)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None


def _execute(command: Sequence[str], inherited: socket.socket) -> "subprocess.Popen[bytes]":
    fd = inherited.fileno()
    return subprocess.Popen(  # noqa: S603 (our own program)
        [*command, "--fd", str(fd)],
        pass_fds=(fd,),
        stdin=subprocess.DEVNULL,
        env=for_go(),
    )
