"""The data directory: one process at a time holds it, and finds it whole."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import IO

from appliance import exchange, scratch
from appliance.model.told import Told

LOCK = "gateway.lock"


class DataDirInUse(Told):
    """Another gateway runs on this directory, or it cannot be written."""


class Held(DataDirInUse):
    """Another process has it now."""


def lock(path: Path) -> IO[str]:
    """Make the directory if need be and hold its lock while the returned file stays open.

    From then on this process makes files that only its own user can read. A restore that was interrupted is
    carried to its end, what killed commands left is cleared away. Raises DataDirInUse.
    """
    os.umask(0o077)
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (path / LOCK).open("a+")
    except PermissionError:
        raise DataDirInUse(
            f"{path}: you may not write there. Run this as root (sudo) or as its user, or choose another "
            "directory with --data-dir."
        ) from None
    except OSError as error:
        raise DataDirInUse(f"{path}: {error.strerror}. Choose another directory with --data-dir.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip() or "?"
        file.close()
        raise Held(f"{path} is in use by another gateway (process {holder}).") from None
    # Only to tell others who holds it: a full disk is no reason not to.
    with contextlib.suppress(OSError):
        os.truncate(file.fileno(), 0)
        os.write(file.fileno(), str(os.getpid()).encode())
    try:
        exchange.finish(path)
    except OSError as error:
        file.close()
        raise DataDirInUse(f"{path}: a restore was interrupted and cannot go on: {error}.") from None
    scratch.clear(path)
    return file


def is_somebody_elses(path: Path) -> bool:
    """Whether root runs this on a directory that belongs to another user."""
    return os.geteuid() == 0 and path.is_dir() and path.stat().st_uid != 0


def become_owner(path: Path) -> None:
    """Go on as the user that the directory belongs to, for ever. Raises OSError."""
    owner = path.stat()
    os.setgroups([])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)


def database_path(folder: Path) -> Path:
    """The database's file within the data directory."""
    return folder / "gateway.db"
