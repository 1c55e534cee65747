"""Room on a disk, asked for before it is used."""

import shutil
from pathlib import Path

from appliance.operations.asking import Refused
from appliance.operations.progress import megabytes

SPARE_BYTES = 16 * 1024 * 1024


def require_room(folder: Path, size: int) -> None:
    """Raises Refused when the folder's disk has no room for `size` bytes and a little more."""
    free = shutil.disk_usage(folder).free
    if free < size + SPARE_BYTES:
        raise Refused(
            f"the disk of {folder} has {megabytes(free)} left; {megabytes(size + SPARE_BYTES)} are needed."
        )


def existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.is_dir())
