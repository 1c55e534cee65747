"""Files on their way out: taken from a URL, base64 or a form, kept until their message no longer waits."""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path

import msgspec

from appliance.engine.base import OutgoingMedia, OutgoingMessage
from appliance.gateway.media_facts import examine
from appliance.gateway.media_fetch import Fetcher
from appliance.gateway.media_intake import decoded, empty_file, on_disk, one_chunk, take_in
from appliance.gateway.media_links import clean_filename
from appliance.gateway.media_settings import MediaSettings
from appliance.gateway.media_shelf import Shelf
from appliance.gateway.media_types import checked_mimetype, ending, fitting
from appliance.model.clock import Clock
from appliance.model.errors import Invalid
from appliance.model.ids import new_id
from appliance.model.message import MEDIA_KINDS, MediaKind, Message
from appliance.store import media
from appliance.store.database import Reader

log = logging.getLogger(__name__)

BASE64_LIMIT = 16 * 1024 * 1024
LOOSE_LIFE_S = 3600.0
"""How long a file may be here before a message needs it: longer than any request takes."""


class Loose(msgspec.Struct, frozen=True):
    """A file that is here, not yet meant for anything: `size` bytes, the SHA-256 of its content."""

    path: Path
    size: int
    sha256: bytes


class Staged(msgspec.Struct, frozen=True):
    """A file ready to be sent; `sha256` of its content tells a repeat from another request."""

    media: OutgoingMedia
    sha256: bytes


class Media:
    """Takes files to send; `received` are the files that came. `folder` is the data directory."""

    def __init__(
        self,
        reader: Reader,
        clock: Clock,
        settings: MediaSettings,
        folder: Path,
        fetcher: Fetcher,
        received: Shelf,
    ) -> None:
        self._reader = reader
        self._clock = clock
        self._limit = settings.max_bytes
        self._folder = (folder / "outgoing").resolve()
        self._fetcher = fetcher
        self.received = received

    def use(self, settings: MediaSettings) -> None:
        """Go by these settings from the next file on, sent or received."""
        self._limit = settings.max_bytes
        self.received.use(settings)

    @property
    def limit(self) -> int:
        """How many bytes a file may have."""
        return self._limit

    async def stage_url(
        self, url: str, kind: MediaKind, mimetype: str | None = None, filename: str | None = None
    ) -> Staged:
        """Fetch a file. Raises MediaUrlForbidden, MediaUnreachable, and what `fit` and `take` raise."""
        mimetype = checked_mimetype(mimetype)
        async with self._fetcher.open(url, self._limit) as answer:
            loose = await self.take(answer.chunks)
        return await self.fit(
            loose, kind, mimetype, filename or answer.filename, hint=answer.mimetype, field="url"
        )

    async def stage_base64(
        self, text: str, kind: MediaKind, mimetype: str | None = None, filename: str | None = None
    ) -> Staged:
        """Decode a file, at most BASE64_LIMIT bytes; data URLs too. Raises what `fit` and `take` raise."""
        mimetype = checked_mimetype(mimetype)
        data, hint = await asyncio.to_thread(decoded, text, min(BASE64_LIMIT, self._limit))
        loose = await self.take(one_chunk(data))
        return await self.fit(loose, kind, mimetype, filename, hint=hint, field="base64")

    async def take(self, chunks: AsyncIterable[bytes]) -> Loose:
        """Write what comes to disk; `fit` or `discard` it. Raises MediaTooLarge, StorageFull, StoreError."""
        await on_disk(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        path = self._folder / new_id()
        taken = await take_in(chunks, path, self._limit)
        return Loose(path, taken.size, taken.sha256)

    async def fit(
        self,
        loose: Loose,
        kind: MediaKind,
        mimetype: str | None = None,
        filename: str | None = None,
        *,
        hint: str | None = None,
        field: str = "file",
    ) -> Staged:
        """The file as it is sent as `kind`; a file that does not fit is gone.

        `mimetype` is the caller's word, `hint` the type that came along.
        Raises UnsupportedMediaType, Invalid.
        """
        try:
            return await self._fit(loose, kind, checked_mimetype(mimetype) or _plain(hint), filename, field)
        except BaseException:
            self.discard(loose)
            raise

    @contextlib.asynccontextmanager
    async def borrow(
        self,
        kind: str,
        *,
        url: str | None,
        base64: str | None,
        filename: str | None,
        mimetype: str | None,
    ) -> AsyncIterator[OutgoingMedia]:
        """The file for the length of the context. Raises what `stage_url` and `stage_base64` raise."""
        if kind not in MEDIA_KINDS or (url is None) == (base64 is None):
            raise Invalid("A file comes with one of url and base64, and with a kind of media.", field="kind")
        if url is not None:
            staged = await self.stage_url(url, kind, mimetype, filename)
        else:
            staged = await self.stage_base64(base64 or "", kind, mimetype, filename)
        try:
            yield staged.media
        finally:
            self.discard(staged)

    def discard(self, unused: Loose | Staged) -> None:
        """Delete a file that no message was accepted for."""
        self._delete(unused.path if isinstance(unused, Loose) else Path(unused.media.path))

    def on_done(self, message: Message) -> None:
        """Delete the file of a message that no longer waits; a message without one is fine."""
        if message.outgoing is None:
            return
        file = msgspec.json.decode(message.outgoing, type=OutgoingMessage).media
        if file is not None:
            self._delete(Path(file.path))

    async def sweep(self, min_age_s: float = LOOSE_LIFE_S) -> int:
        """Delete files that no waiting message needs, at least that old; returns how many. At start: 0."""
        # At a start nothing is in use, and the clock may not yet have been set.
        before_s = self._clock.now_ms() / 1000 - min_age_s if min_age_s > 0 else math.inf
        found = await asyncio.to_thread(_older, self._folder, before_s)
        needed = {_name(note) for note in await self._reader.all(media.waiting_notes())}
        unneeded = [path for path in found if path.name not in needed]
        for path in unneeded:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        if unneeded:
            log.info("outgoing_swept", extra={"files": len(unneeded)})
        return len(unneeded)

    async def open(self) -> None:
        """At start, before the first request: delete what a crash left."""
        await self.sweep(0)
        await self.received.tidy()

    async def sweep_old(self, messages_before: int | None) -> None:
        """Delete what is no longer kept; with `messages_before` (ms) the messages older than that go too."""
        await self.sweep()
        await self.received.sweep(messages_before)

    async def _fit(
        self, loose: Loose, kind: MediaKind, declared: str | None, filename: str | None, field: str
    ) -> Staged:
        if loose.size == 0:
            raise empty_file(field)
        facts = await asyncio.to_thread(examine, loose.path)
        name = clean_filename(filename)
        mimetype = fitting(kind, facts.mimetype, declared, name)
        if kind == "document":
            name = name or "document" + ending(mimetype)
        return Staged(
            OutgoingMedia(
                path=str(loose.path),
                mimetype=mimetype,
                size=loose.size,
                filename=name,
                seconds=facts.seconds,
                width=facts.width,
                height=facts.height,
            ),
            loose.sha256,
        )

    def _delete(self, path: Path) -> None:
        # A big file takes the disk a while: the loop does not wait for it.
        asyncio.get_running_loop().run_in_executor(None, _unlink, self._folder / path.name)


def _plain(hint: str | None) -> str | None:
    """A type that came along, when it can be used: a server's mistake is not the caller's."""
    try:
        return checked_mimetype(hint)
    except Invalid:
        return None


def _name(note: bytes) -> str:
    file = msgspec.json.decode(note, type=OutgoingMessage).media
    return Path(file.path).name if file is not None else ""


def _older(folder: Path, before_s: float) -> list[Path]:
    if not folder.is_dir():
        return []
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime <= before_s:
                found.append(path)
    return found


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
