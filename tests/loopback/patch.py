"""Replace whatsmeow's pinned Noise root key in a running process's memory. No file is changed.

The proxy finds the process behind a loopback connection, patches it through `/proc/PID/mem`, and only then
lets the connection go on. So a client needs no preparation at all: a source checkout, a frozen bundle and any
other program built on whatsmeow are the same to it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

# `WACertPubKey` in whatsmeow's handshake.go: a Go array variable, so it lies in writable data, once.
WA_CERT_PUBKEY = bytes.fromhex("142375574d0a587166aae71ebe516437c4a28b73e3695c6ce1f7f9545da8ee6b")
_SPAN = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ \S+\s*(.*)$")
_HEAP_ARENA = 64 << 20
_PEER_PORT, _OWN_PORT, _INODE = 1, 2, 9  # columns of /proc/net/tcp, as the peer's own row has them
_ORPHANED = "0"  # the inode of a socket whose process has ended


class PatchError(RuntimeError):
    """We may not write the memory of the process that connects."""


class Patcher:
    """Patches each connecting process once and remembers it."""

    def __init__(self, new_key: bytes) -> None:
        self._new_key = new_key
        self._done: dict[int, str] = {}  # pid -> start time, because pids come back

    @property
    def count(self) -> int:
        return len(self._done)

    def patch_peer(self, own_port: int, peer_port: int) -> int | None:
        """Patch the process at the other end of a loopback connection; returns its pid.

        None when the process has gone or holds no such key (it is no whatsmeow client). Raises PatchError.
        """
        pid = _process_behind(own_port, peer_port, list(self._done))
        if pid is None:
            return None
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            started = _start_time(pid)
            if self._done.get(pid) == started:
                return pid
            if _overwrite(pid, WA_CERT_PUBKEY, self._new_key):
                self._done[pid] = started
                return pid
        return None


@functools.cache
def can_patch() -> bool:
    """Whether we may write the memory of our children; tests that need it skip with PATCH_REASON."""
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        try:
            start = next(s for s, _, path in _writable_spans(child.pid) if path)
            with Path(f"/proc/{child.pid}/mem").open("r+b", buffering=0) as memory:
                same = os.pread(memory.fileno(), 1, start)
                return os.pwrite(memory.fileno(), same, start) == 1
        except (OSError, StopIteration):
            return False
        finally:
            child.stdin.close()


PATCH_REASON = "writing /proc/PID/mem of a child process is not allowed here"


def _overwrite(pid: int, old: bytes, new: bytes) -> bool:
    """Replace `old` by `new` in the process's writable data; true also when `new` is there already."""
    try:
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            for start, end, path in _writable_spans(pid):
                if not path and end - start > _HEAP_ARENA:
                    continue  # the key is static data, never in Go's heap
                with contextlib.suppress(OSError):
                    data = os.pread(memory.fileno(), end - start, start)
                    if (at := data.find(old)) >= 0:
                        return os.pwrite(memory.fileno(), new, start + at) == len(new)
                    if new in data:
                        return True
    except PermissionError as error:
        raise PatchError(PATCH_REASON) from error
    return False


def _writable_spans(pid: int) -> list[tuple[int, int, str]]:
    """(start, end, path) of the private writable mappings, files first: Go's data is part of a file."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    found = [m for m in map(_SPAN.match, lines) if m]
    spans = [(int(m[1], 16), int(m[2], 16), m[3]) for m in found]
    return [s for s in spans if s[2].startswith("/")] + [s for s in spans if not s[2]]


def _start_time(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def _process_behind(own_port: int, peer_port: int, likely: list[int]) -> int | None:
    """The pid that holds the peer's socket; `likely` pids are looked at first, all of /proc is slow.

    Raises PatchError when it must be one of the processes we may not look into.
    """
    inode = _socket_inode(own_port, peer_port)
    if inode in (None, _ORPHANED):
        return None
    others = (int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit())
    hidden = False
    for pid in (*likely, *others):
        try:
            if _holds(pid, f"socket:[{inode}]"):
                return pid
        except PermissionError:
            hidden = True
    # A process that has just ended is nobody's fault: only a socket that still lives is held in hiding.
    if hidden and _socket_inode(own_port, peer_port) == inode:
        raise PatchError(PATCH_REASON)
    return None


def _socket_inode(own_port: int, peer_port: int) -> str | None:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(table).read_text().splitlines()[1:]:
                row = line.split()
                ports = [int(row[i].rpartition(":")[2], 16) for i in (_PEER_PORT, _OWN_PORT)]
                if ports == [peer_port, own_port]:
                    return row[_INODE]
    return None


def _holds(pid: int, link: str) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if os.readlink(fd) == link:  # noqa: PTH115 - Path.readlink would build a Path for every descriptor
                    return True
    return False
