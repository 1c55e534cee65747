"""The session worker's process: the `session-worker` sub-command, and the child of the fork server.

It owns its device's folder by a lock for its whole life, ignores SIGTERM and SIGINT (they reach everybody at
once; main says when to stop), and ends when its socket does.
"""

import argparse
import logging
import os
import signal
import socket
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from appliance import heap
from appliance.engine import lock, wire
from appliance.engine.worker.library import Library
from appliance.engine.worker.log import open_log
from appliance.engine.worker.session_loop import SessionLoop

log = logging.getLogger(__name__)

_LOCK_WAIT_S = 5.0
_LONGEST_START_S = 30.0
_HIGHEST_FD = 1 << 16


def worker_main(argv: Sequence[str]) -> int:
    """`session-worker --fd N`: run one session over the socket that was inherited as descriptor N."""
    parser = argparse.ArgumentParser(prog="session-worker")
    parser.add_argument("--fd", type=int, required=True)
    fd = parser.parse_args(argv).fd
    prepare()
    run(socket.socket(fileno=fd))
    return 0


def prepare() -> None:
    """To be called first in every process of sessions."""
    heap.hold()
    heap.give_way()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def run(sock: socket.socket) -> None:
    """One worker's whole life. Ends the process: threads that hang in Go could not be joined."""
    status = 1
    try:
        _close_all_but(sock.fileno())
        frames, start = _read_start(sock)
        if start is not None:
            _run_session(sock, frames, start)
        status = 0
    except Exception:
        log.exception("worker ended")
    finally:
        os._exit(status)


def run_inline(sock: socket.socket, one_call_at_a_time: threading.Lock) -> None:
    """The same on a thread of a process that lives on; returns when the session has ended."""
    frames, start = _read_start(sock)
    if start is None:
        return
    held = lock.take(Path(start.folder), _LOCK_WAIT_S)
    loop = SessionLoop(Library(), sock, start, frames, one_call_at_a_time)
    try:
        loop.run(os.getpid())
    finally:
        loop.release()
        os.close(held)


def _run_session(sock: socket.socket, frames: wire.FrameReader, start: wire.Start) -> None:
    folder = Path(start.folder)
    open_log(folder)
    lock.take(folder, _LOCK_WAIT_S)
    library = Library()
    settle = partial(heap.settle, heap.loaded())
    SessionLoop(library, sock, start, frames, settle=settle).run(os.getpid())


def _close_all_but(fd: int) -> None:
    """An inherited end of another worker's socket would hide from it that main is gone."""
    os.closerange(3, fd)
    os.closerange(fd + 1, _HIGHEST_FD)


def _read_start(sock: socket.socket) -> tuple[wire.FrameReader, wire.Start | None]:
    """The first frame; None when main went away before it said anything."""
    frames = wire.FrameReader()
    sock.settimeout(_LONGEST_START_S)
    while data := sock.recv(1 << 16):
        frames.feed(data)
        for command in frames.commands():
            if not isinstance(command, wire.Start):
                raise TypeError(type(command).__name__)
            sock.settimeout(None)
            return frames, command
    return frames, None
