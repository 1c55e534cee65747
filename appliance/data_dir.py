"""The data directory: one process at a time holds it."""

import fcntl
import os
from pathlib import Path
from typing import IO


class DataDirInUse(Exception):
    """Another gateway runs on this directory, or it cannot be written."""


def lock(path: Path) -> IO[str]:
    """Make the directory if need be and hold its lock while the returned file stays open.

    From then on this process makes files that only its own user can read. Raises DataDirInUse.
    """
    os.umask(0o077)
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (path / "gateway.lock").open("a+")
    except OSError as error:
        raise DataDirInUse(f"{path}: {error.strerror}. Choose another directory with --data-dir.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip() or "?"
        raise DataDirInUse(f"{path} is in use by another gateway (process {holder}).") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def database_path(folder: Path) -> Path:
    """The database's file within the data directory."""
    return folder / "gateway.db"
