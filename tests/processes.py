"""Processes as the kernel sees them: who started whom, what program they run, how much memory is theirs."""

from pathlib import Path

PROC = Path("/proc")


def descendants(pid: int) -> list[int]:
    """The living children of a process, their children, and so on."""
    by_parent: dict[int, list[int]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit() and (parent := _parent(folder)) is not None:
            by_parent.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        children = by_parent.get(waiting.pop(), [])
        found += children
        waiting += children
    return sorted(found)


def program(pid: int) -> Path:
    """The file that it executes."""
    return (PROC / str(pid) / "exe").resolve()


def arguments(pid: int) -> list[str]:
    """Its command line; a forked process has its parent's."""
    return (PROC / str(pid) / "cmdline").read_text().split("\0")[:-1]


def memory_kib(pid: int, kind: str = "Pss") -> int:
    """A figure of smaps_rollup in KiB: `Pss` counts a page shared by n processes as 1/n of a page."""
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1])
    raise LookupError(kind)


def descriptors(pid: int) -> int:
    """How many file descriptors it has open."""
    return sum(1 for _ in (PROC / str(pid) / "fd").iterdir())


def threads(pid: int) -> int:
    """How many threads it has."""
    return sum(1 for _ in (PROC / str(pid) / "task").iterdir())


def _parent(folder: Path) -> int | None:
    try:
        state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(parent)
