"""The fork server: a process with Python and the protobufs in memory but not the Go library, from which
session workers are forked, so that they share most of their memory.

Over its SEQPACKET socket main sends one byte with a worker's socket (SCM_RIGHTS); it answers with the child's
pid and a pidfd of it. It ends when the socket does; its children live on.
"""

import argparse
import contextlib
import gc
import os
import select
import socket
import struct
from collections.abc import Sequence

from appliance import heap
from appliance.engine.worker.main import prepare, run

PID = struct.Struct("=i")


def fork_server_main(argv: Sequence[str]) -> int:
    """`fork-server --fd N`: serve the socket that was inherited as descriptor N until main closes it."""
    parser = argparse.ArgumentParser(prog="fork-server")
    parser.add_argument("--fd", type=int, required=True)
    control = socket.socket(fileno=parser.parse_args(argv).fd)
    prepare()
    gc.collect()
    heap.settle(heap.loaded())
    control.send(PID.pack(os.getpid()))
    _serve(control)
    return 0


def _serve(control: socket.socket) -> None:
    children: dict[int, int] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd != control.fileno():
                _reap(children.pop(fd), fd, poll)
                continue
            message, fds, _, _ = socket.recv_fds(control, 1, 1)
            if not message:
                return
            pid, pidfd = _fork(fds[0])
            children[pidfd] = pid
            poll.register(pidfd, select.POLLIN)
            with contextlib.suppress(OSError):
                socket.send_fds(control, [PID.pack(pid)], [pidfd])


def _fork(worker_socket: int) -> tuple[int, int]:
    pid = os.fork()
    if pid == 0:
        run(socket.socket(fileno=worker_socket))
    os.close(worker_socket)
    return pid, os.pidfd_open(pid)


def _reap(pid: int, pidfd: int, poll: select.poll) -> None:
    poll.unregister(pidfd)
    os.waitpid(pid, 0)
    os.close(pidfd)
