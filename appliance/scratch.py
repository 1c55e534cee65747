"""Folders for what nobody else may read and nobody keeps: held by the command that works in them, and cleared
away by whoever comes next when that command was killed."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = ".wa-gateway-"
"""Nobody else's files begin so, also where they lie in a folder that is not ours."""


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """An empty folder within `parent`, which goes at the end. What killed commands left there goes first.
    Raises OSError."""
    clear(parent)
    folder, hold = _made(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(hold)


def clear(parent: Path) -> None:
    """Remove the folders of commands that are no more. One that somebody holds stays, and one that cannot be
    removed: the next command tries again."""
    for left in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            _remove_unheld(left)


def _remove_unheld(folder: Path) -> None:
    hold = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    finally:
        os.close(hold)


def _made(parent: Path) -> tuple[Path, int]:
    """The folder, and the open descriptor that holds it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with contextlib.suppress(FileNotFoundError):
            hold = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            # Some network shares lock no folders: there nobody clears away either.
            with contextlib.suppress(OSError):
                fcntl.flock(hold, fcntl.LOCK_EX)
            if folder.exists():
                return folder, hold
            # Somebody took it for a left-over before it was held.
            os.close(hold)
