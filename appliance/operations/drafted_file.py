"""A file in the making: private from its first byte, and under its own name only when it is on the disk."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from appliance.store.last_stop import sync_folder


def part_of(target: Path) -> Path:
    """What it is called until it is whole."""
    return target.with_name(f"{target.name}.part")


@contextmanager
def drafted(part: Path) -> Iterator[BinaryIO]:
    """A new file that only we can open; what is left of it at the end goes. Raises OSError."""
    part.unlink(missing_ok=True)
    # Never through a link, nor into a file that somebody else may have laid there.
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        try:
            yield out
        finally:
            part.unlink(missing_ok=True)


def force(out: BinaryIO) -> None:
    """Force it to disk, and have what is read back come from there and not from memory. Raises OSError."""
    out.flush()
    os.fsync(out.fileno())
    os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def settle(part: Path, target: Path) -> None:
    """Give the file its name. Raises OSError, and then there is no such file."""
    try:
        part.rename(target)
        _sync_names(target.absolute().parent)
    except BaseException:
        if not part.exists():
            target.unlink(missing_ok=True)
        raise


def _sync_names(folder: Path) -> None:
    """A share of another machine (SMB) cannot be asked to: its names are not ours to keep safe."""
    try:
        sync_folder(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
