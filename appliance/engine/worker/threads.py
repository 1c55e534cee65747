"""What the threads of this process are doing, as the kernel sees them: the library's own threads, too."""

import threading
from pathlib import Path

_TASKS = Path("/proc/self/task")
_AT_WORK = frozenset("RD")
"""Running or waiting for its turn, and waiting for the disk (proc(5), `stat`)."""


def all_asleep() -> bool:
    """Whether no thread but the caller's has anything to do now."""
    me = threading.get_native_id()
    return not any(_state(task) in _AT_WORK for task in _TASKS.iterdir() if int(task.name) != me)


def _state(task: Path) -> str:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"
