"""`backup FILE`: everything that a gateway needs, in one file sealed with a passphrase, while it runs.

This process only reads: it copies each database as a reader of its own, so that the gateway neither waits nor
needs memory for it. The order is that of safety: the key, the gateway's database, the received files that
this copy knows, and the sessions last.
"""

import argparse
import contextlib
import fcntl
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from appliance import __version__, control, data_dir
from appliance.config import Config
from appliance.gateway.media_shelf import place_of
from appliance.model.told import refused_by_system
from appliance.operations import passphrase
from appliance.operations.archive import ArchiveDamaged, ArchiveWriter
from appliance.operations.asking import Refused, refuse, say
from appliance.operations.backup_check import UNREADABLE, read_through
from appliance.operations.contents import CONFIG, DATABASE, KEY, NOTE, SESSION, SPOOL, Note
from appliance.operations.drafted_file import drafted, force, part_of, settle
from appliance.operations.progress import Progress, megabytes
from appliance.operations.room import require_room
from appliance.operations.sealed_file import SealedReader, SealedWriter
from appliance.store import backup, copies
from appliance.store.backup import BackupFailed

_DRAFTS = "backup-draft"
_POLITE = 10


class Done(msgspec.Struct, frozen=True):
    """A finished backup: its size in bytes, the devices and received files in it, and how many of the files
    were gone before they could be copied."""

    size: int
    devices: int
    files: int
    gone: int


def run(config: Config, options: argparse.Namespace) -> int:
    """Carry out `backup FILE`; returns the exit code."""
    os.nice(_POLITE)
    try:
        phrase = passphrase.given(options.passphrase_file, config.backup.passphrase, new=True)
        done = make(config.data, options.config, options.file, phrase)
    except (Refused, BackupFailed, ArchiveDamaged) as error:
        return refuse(f"no backup was made: {error}")
    except OSError as error:
        return refuse(f"no backup was made: {refused_by_system(error, options.file)}")
    say(f"{options.file}: {megabytes(done.size)}, checked. Devices: {done.devices}, files: {done.files}.")
    if done.gone:
        say(f"{done.gone} received files are not in it: they were no longer on the disk.")
    return 0


def make(data: Path, config: Path | None, target: Path, phrase: str) -> Done:
    """Back up the data directory (and the configuration's file, if one is named) into `target`, and read it
    back. Raises Refused, BackupFailed, ArchiveDamaged, OSError; then there is no such file."""
    database = data_dir.database_path(data)
    if not database.exists():
        raise Refused(f"there is no gateway in {data}: say --data-dir DIR or --config FILE.")
    if target.exists():
        raise Refused(f"{target} is there already, and nothing is overwritten.")
    part = part_of(target)
    with _held(data), _drafts(data) as drafts, drafted(part) as out:
        with (drafts / "sums").open("w+b") as sums:
            sealed = SealedWriter(out, phrase)
            done = _Making(data, drafts, target, sealed, sums).make(config)
        force(out)
        size = part.stat().st_size
        _read_back(part, phrase, size)
        settle(part, target)
    return msgspec.structs.replace(done, size=size)


class _Making:
    """One backup in the making."""

    def __init__(self, data: Path, drafts: Path, target: Path, sealed: SealedWriter, sums: BinaryIO) -> None:
        self._data = data
        self._drafts = drafts
        self._target = target
        self._sealed = sealed
        self._archive = ArchiveWriter(sealed, sums)
        self._files = self._gone = 0

    def make(self, config: Path | None) -> Done:
        """Write everything. Raises Refused, BackupFailed, ArchiveDamaged, OSError."""
        made_at = time.time_ns() // 1_000_000
        database, copy = data_dir.database_path(self._data), self._drafts / DATABASE
        key = (self._data / KEY).read_bytes()
        require_room(self._drafts, database.stat().st_size)
        self._progress = Progress("Copying the database", database.stat().st_size)
        copies.of_gateway(database, copy)
        self._progress.advance(copy.stat().st_size)
        devices = copies.device_ids(copy)
        total = copy.stat().st_size + sum(_size_of(self._data / path) for path in self._paths(copy, devices))
        self._progress.finish()
        self._progress = Progress("Writing", total)
        require_room(self._target.absolute().parent, total)
        note = Note(made_at, __version__, backup.schema_of(copy), len(devices), total)
        self._add_bytes(NOTE, msgspec.json.encode(note))
        self._add_bytes(KEY, key)
        if config is not None:
            self._add_bytes(CONFIG, config.read_bytes())
        self._add_file(DATABASE, copy)
        for path in self._media(copy):
            self._add_received(path)
        copy.unlink()
        for device_id in devices:
            self._add_session(Path("devices") / device_id)
        self._archive.finish()
        self._sealed.finish()
        self._progress.finish()
        return Done(0, len(devices), self._files, self._gone)

    def _paths(self, copy: Path, devices: list[str]) -> Iterator[Path]:
        yield from self._media(copy)
        for device_id in devices:
            yield from (Path("devices") / device_id / name for name in (SPOOL, SESSION))

    def _media(self, copy: Path) -> Iterator[Path]:
        for kept in copies.kept_files(copy):
            yield Path("media") / place_of(kept.device_id, kept.media_id)

    def _add_received(self, path: Path) -> None:
        """The gateway goes on meanwhile: it may delete files that are no longer kept."""
        try:
            self._add_file(str(path), self._data / path)
            self._files += 1
        except FileNotFoundError:
            self._gone += 1

    def _add_session(self, folder: Path) -> None:
        """A sandbox device has none, nor one that was never linked or is gone meanwhile."""
        spool, database = (self._data / folder / name for name in (SPOOL, SESSION))
        with contextlib.suppress(FileNotFoundError):
            self._add_file(str(folder / spool.name), spool)
        if database.exists():
            copy = self._drafts / database.name
            try:
                copies.of_session(database, copy)
            except BackupFailed:
                if database.exists():
                    raise
                return
            self._add_file(str(folder / database.name), copy)
            copy.unlink()

    def _add_file(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            self._archive.add(name, file, os.fstat(file.fileno()).st_size, self._progress.advance)

    def _add_bytes(self, name: str, content: bytes) -> None:
        self._archive.add(name, io.BytesIO(content), len(content), self._progress.advance)


def _read_back(part: Path, phrase: str, size: int) -> None:
    progress = Progress("Checking", size)
    try:
        with part.open("rb") as file:
            read_through(SealedReader(file, phrase), progress.advance)
    except UNREADABLE as error:
        raise BackupFailed(f"what was written does not read back ({type(error).__name__} {error})") from error
    progress.finish()


@contextlib.contextmanager
def _held(data: Path) -> Iterator[None]:
    """While no gateway runs, keep one from starting. Raises Refused while one is neither running nor not."""
    try:
        lock = data_dir.lock(data)
    except data_dir.Held as error:
        if not control.is_open(data):
            raise Refused(
                f"{error} It is starting, stopping or being restored: try again in a moment."
            ) from None
        yield
    except data_dir.DataDirInUse as error:
        raise Refused(str(error)) from None
    else:
        with lock:
            yield


@contextlib.contextmanager
def _drafts(data: Path) -> Iterator[Path]:
    """A folder for copies that are not sealed yet: within the data directory, which holds the same in the
    clear, never beside the backup. What a killed backup left there goes. Raises Refused."""
    folder = data / _DRAFTS
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("another backup of this data directory is being made.") from None
        try:
            _empty(folder)
            yield folder
        finally:
            _empty(folder)
            folder.rmdir()
    finally:
        os.close(lock)


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        left.unlink()


def _size_of(path: Path) -> int:
    """For the progress only: what is gone by now counts nothing."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
