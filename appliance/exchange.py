"""A restored state takes the place of the one in the data directory, whole or not at all.

The restored files are made complete in a folder within the data directory first: its parent may not be ours
to write to, and the directory itself a mount. From the moment that folder is named ready, whoever locks the
data directory next carries the exchange to its end, however often it is interrupted. What was there is set
aside, never deleted.
"""

import contextlib
import shutil
from pathlib import Path

from appliance.model.told import Told
from appliance.store.last_stop import sync_folder

DRAFT = "restore.draft"
_STATE = {"secret.key", "setup-token", "devices", "media", "outgoing", "backups", "config.from-backup.toml"}
"""What belongs to one state and to no other, together with every file named after the database. Anything else
in the data directory is its owner's, and stays where it is."""


class CannotExchange(Told):
    """Something in the data directory cannot be moved; the message says what."""


def check(folder: Path) -> None:
    """Raises CannotExchange when what is there could not be set aside."""
    for entry in folder.iterdir():
        if _is_state(entry.name) and entry.is_mount():
            raise CannotExchange(f"{entry} is a mount of its own and cannot be set aside.")


def begin(folder: Path) -> Path:
    """An empty folder to make the restored state in; what an interrupted restore left there goes. Raises
    OSError."""
    draft = folder / DRAFT
    drop(folder)
    draft.mkdir(mode=0o700)
    return draft


def drop(folder: Path) -> None:
    """Forget a restored state that is not ready. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder / DRAFT)


def carry_out(folder: Path, stamp: str) -> Path | None:
    """Put the restored state, which must be on disk, in place; returns where the state of before is, None
    when there was none. Raises OSError: then the next `finish` goes on."""
    (folder / DRAFT).rename(folder / f"restore-{stamp}.ready")
    sync_folder(folder)
    finish(folder)
    aside = _aside(folder, stamp)
    return aside if aside.is_dir() else None


def finish(folder: Path) -> None:
    """Carry to its end an exchange that was begun. Raises OSError."""
    for ready in folder.glob("restore-*.ready"):
        _set_aside(folder, _aside(folder, ready.stem.removeprefix("restore-")))
        ready.rename(ready.with_suffix(".placing"))
        sync_folder(folder)
    for placing in folder.glob("restore-*.placing"):
        for entry in placing.iterdir():
            entry.rename(folder / entry.name)
        sync_folder(folder)
        placing.rmdir()
        sync_folder(folder)


def _set_aside(folder: Path, aside: Path) -> None:
    for entry in [each for each in folder.iterdir() if _is_state(each.name)]:
        aside.mkdir(mode=0o700, exist_ok=True)
        entry.rename(aside / entry.name)
    if aside.is_dir():
        sync_folder(aside)
    sync_folder(folder)


def _aside(folder: Path, stamp: str) -> Path:
    return folder / f"before-restore-{stamp}"


def _is_state(name: str) -> bool:
    return name in _STATE or name.startswith("gateway.db")
