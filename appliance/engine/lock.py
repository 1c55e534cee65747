"""The lock that says whose a device's folder is: a flock that a worker holds for its whole life, with its pid
in the file."""

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path

_LOOK_S = 0.02


class InUse(OSError):
    """Somebody else holds the folder."""


def take(folder: Path, wait_s: float) -> int:
    """Take the folder's lock and write our pid; returns the descriptor, which holds it while it is open.

    Waits up to `wait_s`. Raises InUse.
    """
    fd = _held(folder, wait_s)
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    return fd


def wait_free(folder: Path, wait_s: float) -> None:
    """Return when no worker holds the folder; one that still does after `wait_s` is killed. Blocks.

    Raises InUse when it cannot be killed.
    """
    if not (folder / "lock").exists():
        return
    try:
        os.close(_held(folder, wait_s))
    except InUse:
        _kill_holder(folder)
        os.close(_held(folder, wait_s))


def _held(folder: Path, wait_s: float) -> int:
    """The locked file. Whose pid is in it stays: who only looks must not stand there as the one to kill."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up_at = time.monotonic() + wait_s
    while not _locked(fd):
        if time.monotonic() >= give_up_at:
            os.close(fd)
            raise InUse(folder.name)
        time.sleep(_LOOK_S)
    return fd


def _kill_holder(folder: Path) -> None:
    with contextlib.suppress(ValueError, ProcessLookupError, FileNotFoundError):
        pid = int((folder / "lock").read_text())
        pidfd = os.pidfd_open(pid)
        try:
            # The number may belong to somebody else by now, but not while the lock is held: its holder
            # wrote it, and lives.
            if not _free_now(folder):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)


def _free_now(folder: Path) -> bool:
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    try:
        return _locked(fd)
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
