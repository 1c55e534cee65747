"""Received files on disk: where each stands, how it is told and served, and when it goes."""

import asyncio
import contextlib
import functools
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from appliance.gateway.media_links import LINK_LIFE_S, MediaLinks
from appliance.gateway.media_settings import MediaSettings
from appliance.model.clock import Clock
from appliance.model.device import Device
from appliance.model.errors import MediaError, NotFound
from appliance.model.media import MediaFile, MediaState
from appliance.store import devices, media, messages
from appliance.store.database import Database, Transaction
from appliance.store.query import Query

log = logging.getLogger(__name__)

BLOCK_SIZE = 256 * 1024
GROUP = 200
DAY_MS = 24 * 3600 * 1000
_MISSING = {
    MediaState.PENDING: "The file is still being fetched from WhatsApp.",
    MediaState.FAILED: "The file could not be fetched from WhatsApp: {error}.",
    MediaState.GONE: "The file was deleted after the days that files are kept.",
}


class Settle(Protocol):
    """Writes what became of files."""

    def __call__(self, tx: Transaction, files: list[MediaFile]) -> None: ...


class Served(msgspec.Struct, frozen=True):
    """A file that can be read now; `size` is what is on disk."""

    file: MediaFile
    path: Path
    size: int


class Shelf:
    """Keeps received files under `folder`/media, a folder for each device."""

    def __init__(
        self, db: Database, clock: Clock, settings: MediaSettings, folder: Path, links: MediaLinks
    ) -> None:
        self._db = db
        self._clock = clock
        self._keep_days = settings.keep_days
        self._folder = (folder / "media").resolve()
        self._links = links

    def use(self, settings: MediaSettings) -> None:
        """Go by these settings from now on."""
        self._keep_days = settings.keep_days

    def path_of(self, file: MediaFile) -> Path:
        """Where the file's bytes are, or will be."""
        return self._folder / place_of(file.device_id, file.id)

    def describe(self, file: MediaFile) -> dict[str, Any]:
        """The `media` object of an event, with a link that holds eight days; times in it are ms."""
        expires_at_s = self._clock.now_ms() // 1000 + LINK_LIFE_S
        stored = file.state is MediaState.STORED
        told = {
            "id": file.id,
            "kind": file.kind,
            "mimetype": file.mimetype,
            "size": file.size,
            "filename": file.filename,
            "seconds": file.seconds,
            "url": self._links.link(file.id, expires_at_s) if stored else None,
            "urlExpiresAt": expires_at_s * 1000 if stored else None,
            "error": file.error,
        }
        return {name: value for name, value in told.items() if value is not None}

    async def linked(self, media_id: str, expires: str, signature: str) -> Served:
        """The file that a signed link opens. Raises NotFound, MediaError."""
        self._links.check(media_id, expires, signature, self._clock.now_ms() / 1000)
        file = await self._db.reader.one(media.by_id(media_id))
        return await self._served(file)

    async def of_message(self, account_id: str, any_id: str) -> Served:
        """The file of a received message, by our id or WhatsApp's. Raises NotFound, MediaError."""
        message = await self._db.reader.one(messages.by_id(account_id, any_id))
        if message is None:
            raise NotFound("There is no such message.")
        if message.media_id is None:
            raise NotFound("This message has no file here: only files that were received are kept.")
        file = await self._db.reader.one(media.of_account(account_id, message.media_id))
        return await self._served(file)

    async def read(self, served: Served, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to before `end`, in blocks; also of a file deleted meanwhile."""
        left = (served.size if end is None else end) - start
        file: BinaryIO = await asyncio.to_thread(served.path.open, "rb")
        try:
            file.seek(start)
            while left > 0 and (block := await asyncio.to_thread(file.read, min(left, BLOCK_SIZE))):
                left -= len(block)
                yield block
        finally:
            file.close()

    async def sweep(self, messages_before: int | None = None) -> int:
        """Delete what is older than the days files are kept (0: for ever), and everything about files whose
        messages go, those before `messages_before` (ms). Returns how many went."""
        total = 0
        if messages_before is not None:
            total += await self._sweep(lambda: media.before(messages_before, GROUP), media.delete)
        if self._keep_days > 0:
            before = self._clock.now_ms() - self._keep_days * DAY_MS
            total += await self._sweep(lambda: media.aged(before, GROUP), media.mark_gone)
        if total:
            log.info("media_swept", extra={"files": total})
        return total

    async def _sweep(self, query: Callable[[], Query[MediaFile]], settle: Settle) -> int:
        """The disk first: after a crash in between, the rows are found again."""
        total = 0
        while files := await self._db.reader.all(query()):
            await self.delete(files)
            await self._db.transaction(functools.partial(settle, files=files))
            total += len(files)
        return total

    async def delete(self, files: list[MediaFile]) -> None:
        """Delete the files from disk; one that is not there is fine."""
        await asyncio.to_thread(_unlink_all, [self.path_of(file) for file in files])

    def forget(self, device: Device) -> None:
        """Delete everything that came to a device which is no more."""
        asyncio.get_running_loop().run_in_executor(None, _remove_tree, self._folder / device.id)

    async def tidy(self) -> None:
        """At start: delete what a crash left, half-fetched files and those of devices that are no more."""
        known = {device.id for device in await self._db.reader.all(devices.everywhere())}
        await asyncio.to_thread(_tidy, self._folder, known)

    async def _served(self, file: MediaFile | None) -> Served:
        if file is None:
            raise NotFound("There is no such file.")
        if file.state is not MediaState.STORED:
            raise MediaError(_MISSING[file.state].format(error=file.error))
        path = self.path_of(file)
        try:
            size = (await asyncio.to_thread(path.stat)).st_size
        except OSError:
            raise MediaError("The file is no longer on this machine's disk.") from None
        return Served(file, path, size)


def place_of(device_id: str, media_id: str) -> Path:
    """Where a received file stands below the folder of received files."""
    return Path(device_id, media_id[-2:], media_id)


def draft_of(path: Path) -> Path:
    """Where a file is fetched to before it takes its name."""
    return path.with_name(path.name + ".new")


def _unlink_all(paths: list[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _remove_tree(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _tidy(folder: Path, known: set[str]) -> None:
    if not folder.is_dir():
        return
    for device_folder in folder.iterdir():
        if device_folder.name not in known:
            _remove_tree(device_folder)
    _unlink_all([*folder.glob("*/*/*.new"), *folder.glob("*/*/*.new.*")])
