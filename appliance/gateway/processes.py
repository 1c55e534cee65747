"""What the processes of this gateway use of the machine, as the kernel tells it below /proc."""

import resource
from pathlib import Path

import msgspec

_PROC = Path("/proc")
_KIB = 1024


class Memory(msgspec.Struct, frozen=True):
    """Bytes that a process has in memory: `resident` counts what it shares with others in full,
    `proportional` only its part of it (None where the kernel does not tell)."""

    resident: int
    proportional: int | None


class Usage(msgspec.Struct, frozen=True):
    """What this process has used so far, and may use: processor seconds and file descriptors."""

    cpu_s: float
    descriptors: int
    descriptors_most: int


def memory(pid: int) -> Memory | None:
    """None when there is no such process any more."""
    try:
        pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return Memory(pages * resource.getpagesize(), _proportional(pid))


def memory_most() -> int:
    """The most bytes that this process has had in memory; 0 where the kernel does not tell. Not getrusage's
    figure: that one begins with what the program had that started this one."""
    return _kib_of(_PROC / "self" / "status", "VmHWM:") or 0


def usage() -> Usage:
    used = resource.getrusage(resource.RUSAGE_SELF)
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Usage(used.ru_utime + used.ru_stime, len(list((_PROC / "self" / "fd").iterdir())), most)


def _proportional(pid: int) -> int | None:
    return _kib_of(_PROC / str(pid) / "smaps_rollup", "Pss:")


def _kib_of(file: Path, name: str) -> int | None:
    """The figure of that line in bytes."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * _KIB for line in lines if line.startswith(name)), None)
