"""Ballast: a file of nothing that is given up when the disk is full, so that what must be written to recover
still can be."""

import logging
import os
import shutil
import threading
from pathlib import Path

from appliance.store.last_stop import sync_folder

log = logging.getLogger(__name__)

SIZE = 16 * 1024 * 1024
"""Bytes: twice what the write-ahead log may keep, so that it can be written and emptied."""
START_WANTS = 4 * 1024 * 1024
"""Bytes: the log's index, its first frames, and the small notes that a start writes."""


def give_up_when_full(folder: Path, wanted: int = START_WANTS) -> None:
    """Delete the ballast that an earlier life laid down there when there is no room left to start a new one.
    Raises OSError."""
    path = _path(folder)
    if path.exists() and shutil.disk_usage(folder).free < wanted:
        size = path.stat().st_size
        path.unlink()
        log.error("disk_full", extra={"ballast_bytes": size})


class Ballast:
    """The file `ballast` in the data directory. Both methods may be called on any thread."""

    def __init__(self, folder: Path, size: int = SIZE) -> None:
        self._path = _path(folder)
        self._size = size
        self._lock = threading.Lock()
        self.is_held = False

    def release(self) -> None:
        """Give the room back to the disk."""
        with self._lock:
            if self.is_held:
                self.is_held = False
                self._path.unlink(missing_ok=True)
                log.error("disk_full", extra={"ballast_bytes": self._size})

    def take(self) -> bool:
        """Have the ballast, if the disk has room for it twice; whether it is held now."""
        with self._lock:
            if not self.is_held:
                try:
                    self.is_held = self._lies_there() or self._allocate()
                except OSError as error:
                    self._path.unlink(missing_ok=True)
                    log.warning("ballast_refused", extra={"errno": error.errno})
            return self.is_held

    def _lies_there(self) -> bool:
        return self._path.exists() and self._path.stat().st_blocks * 512 >= self._size

    def _allocate(self) -> bool:
        if shutil.disk_usage(self._path.parent).free < 2 * self._size:
            return False
        with self._path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self._size)
            os.fsync(file.fileno())
        sync_folder(self._path.parent)
        return True


def _path(folder: Path) -> Path:
    return folder / "ballast"
