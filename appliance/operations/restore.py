"""`restore FILE`: the state in a backup becomes the data directory's; the state of before is set aside whole.

Everything is read, checked and written beside the old state first. A refusal leaves the old one as it was.
"""

import argparse
import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from appliance import data_dir, exchange
from appliance.config import Config
from appliance.model.told import Told, refused_by_system
from appliance.operations import passphrase
from appliance.operations.archive import Member
from appliance.operations.asking import refuse, say
from appliance.operations.backup_check import UNREADABLE, read_through, why
from appliance.operations.contents import CONFIG, DATABASE, SESSION, Note
from appliance.operations.progress import Progress
from appliance.operations.room import existing, require_room
from appliance.operations.sealed_file import SealedReader
from appliance.scratch import scratch
from appliance.store import backup, copies
from appliance.store.copies import CopyUnusable

RESTORED_CONFIG = "config.from-backup.toml"
_ONE_AT_A_TIME = (
    "Start it only when the gateway that the backup was made of runs no more, and never start that one "
    "again:\na WhatsApp session that runs in two places is pushed out of both in turn."
)


def run(config: Config, options: argparse.Namespace) -> int:
    """Carry out `restore FILE`; returns the exit code."""
    what = "the rehearsal failed" if options.rehearse else "nothing was restored"
    work = _rehearse if options.rehearse else _restore
    try:
        phrase = passphrase.given(options.passphrase_file, config.backup.passphrase, new=False)
        work(config, options.file, phrase)
    except UNREADABLE as error:
        return refuse(f"{what}: {options.file}: {why(error)}")
    except data_dir.Held as error:
        return refuse(f"{what}: {error} Stop it first.")
    except Told as error:
        return refuse(f"{what}: {error}")
    except _StoppedHalfWay as error:
        return refuse(error)
    except OSError as error:
        where = config.data if error.errno == errno.ENOSPC else options.file
        return refuse(f"{what}: {refused_by_system(error, where)}")
    return 0


def _restore(config: Config, file: Path, phrase: str) -> None:
    folder = config.data
    with file.open("rb") as source:
        sealed, size = SealedReader(source, phrase), os.fstat(source.fileno()).st_size
        with _locked(folder):
            exchange.check(folder)
            require_room(folder, size)
            with _drafted(folder) as draft:
                unpacking = _Unpacking(draft, data_dir.database_path(folder), keeps=True)
                note = unpacking.all(sealed, size)
                now_ms = time.time_ns() // 1_000_000
                copies.go_on_from(draft / DATABASE, config.store, now_ms)
                _give_to_owner_of(folder, draft)
                os.sync()
            aside = _exchanged(folder, backup.stamp(now_ms))
    say(f"Restored into {folder}: {_described(note, unpacking.files)}.")
    if aside is not None:
        say(f"What was there before stands in {aside}: delete it when you no longer need it.")
    if (folder / RESTORED_CONFIG).exists():
        say(
            f"The configuration of that gateway stands in {folder / RESTORED_CONFIG}; nothing reads it there."
        )
    say(_ONE_AT_A_TIME)


def _rehearse(config: Config, file: Path, phrase: str) -> None:
    """Everything that a restore does but to change anything; a gateway may run there meanwhile."""
    near = existing(config.data)
    with file.open("rb") as source:
        sealed, size = SealedReader(source, phrase), os.fstat(source.fileno()).st_size
        if near == config.data.absolute():
            exchange.check(near)
        require_room(near, size)
        with scratch(near) as draft:
            unpacking = _Unpacking(draft, data_dir.database_path(config.data), keeps=False)
            note = unpacking.all(sealed, size)
    say(f"The backup is whole and this version can restore it: {_described(note, unpacking.files)}.")


class _StoppedHalfWay(Exception):
    """The state is neither the old one nor the new one; the message says what to do."""


class _Unpacking:
    """Writes the files of a backup below a folder and looks at each database; only those, and only for as
    long as that takes, unless it `keeps` them. `files` are the received files that came by."""

    def __init__(self, into: Path, database: Path, *, keeps: bool) -> None:
        self._into = into
        self._database = database
        self._keeps = keeps
        self.files = 0

    def all(self, sealed: SealedReader, size: int) -> Note:
        """Raises UNREADABLE, CopyUnusable, SchemaTooNew, OSError."""
        progress = Progress("Restoring" if self._keeps else "Checking", size)
        note = read_through(sealed, progress.advance, self._take)
        progress.finish()
        return note

    def _take(self, member: Member) -> None:
        self.files += member.name.startswith("media/")
        is_database = member.name == DATABASE or member.name.endswith(f"/{SESSION}")
        if not self._keeps and not is_database:
            return
        path = self._into / (RESTORED_CONFIG if member.name == CONFIG else member.name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("xb") as file:
            for block in member.blocks:
                file.write(block)
        if is_database:
            self._look_at(path)
        if not self._keeps:
            path.unlink()

    def _look_at(self, copy: Path) -> None:
        if copy.name == DATABASE:
            copies.check(copy, self._database)
        elif (fault := copies.session_fault(copy)) is not None:
            raise CopyUnusable(f"a session in the backup is damaged: {fault}")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the data directory; one that was made for this goes again when nothing comes of it. Raises
    DataDirInUse."""
    is_new = not folder.exists()
    owner = existing(folder).stat()
    with data_dir.lock(folder):
        try:
            if is_new:
                _give(folder, owner)
            # Also of a restore that is refused, or the gateway's user could not lock it any more.
            _give(folder / data_dir.LOCK, owner)
            yield
        except BaseException:
            if is_new:
                with contextlib.suppress(OSError):
                    (folder / data_dir.LOCK).unlink()
                    folder.rmdir()
            raise


@contextlib.contextmanager
def _drafted(folder: Path) -> Iterator[Path]:
    """The folder for the state in the making; it goes when that fails."""
    try:
        yield exchange.begin(folder)
    except BaseException:
        exchange.drop(folder)
        raise


def _exchanged(folder: Path, stamp: str) -> Path | None:
    try:
        aside = exchange.carry_out(folder, stamp)
    except OSError as error:
        raise _StoppedHalfWay(
            f"the restore stopped half-way: {error}. Mend that; the next start or restore goes on with it."
        ) from error
    if aside is not None:
        _give(aside, folder.stat())
    return aside


def _give_to_owner_of(folder: Path, draft: Path) -> None:
    """Root restores for the gateway's own user."""
    owner = folder.stat()
    for path in (draft, *draft.rglob("*")):
        _give(path, owner)


def _give(path: Path, owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)


def _described(note: Note, files: int) -> str:
    return f"made {note.made} by version {note.version}, devices: {note.devices}, received files: {files}"
