"""Fetches the files of received messages, then tells the messages: none is told before its file is here."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

from appliance.engine.base import EngineError
from appliance.gateway import telling
from appliance.gateway.devices import DeviceManager
from appliance.gateway.events import EventLog
from appliance.gateway.media_intake import disk_error, settle_file
from appliance.gateway.media_settings import MediaSettings
from appliance.gateway.media_shelf import Shelf, draft_of
from appliance.model.clock import Clock
from appliance.model.device import DeviceStatus
from appliance.model.errors import MediaError, MediaTooLarge, MediaUnreachable, StorageFull
from appliance.model.media import MediaFile, MediaState
from appliance.model.message import Message
from appliance.store import media, messages
from appliance.store.database import Database, StoreError, Transaction

log = logging.getLogger(__name__)

AT_ONCE = 2
DEADLINE_S = 130.0
"""A little more than the engine gives itself."""
WAIT_LIMIT_S = 600.0
WAIT_STEP_S = 30.0
PAUSES_S = (1.0, 5.0)
DISK_PAUSE_S = 1.0

UNAVAILABLE = MediaError.code
UNREACHABLE = MediaUnreachable.code
TOO_LARGE = MediaTooLarge.code
STORAGE_FULL = StorageFull.code


class _NotFetched(Exception):
    """A try failed. `final`: no other will do better; `offline`: it was not really tried."""

    def __init__(self, code: str, final: bool = False, offline: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.final = final
        self.offline = offline


class Wanted(msgspec.Struct, frozen=True):
    """A message whose file is wanted; given up at `until` on the monotonic clock."""

    account_id: str
    device_id: str
    message_id: str
    until: float


class Downloads:
    """Fetches AT_ONCE files at a time, one of each device, in the order in which they came."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        devices: DeviceManager,
        events: EventLog,
        shelf: Shelf,
        settings: MediaSettings,
        *,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._db = db
        self._clock = clock
        self._devices = devices
        self._events = events
        self._shelf = shelf
        self._limit = settings.max_bytes
        self._pauses_s = pauses_s
        self._known: set[str] = set()
        self._lines: dict[str, deque[Wanted]] = {}
        self._fresh: asyncio.Queue[str] = asyncio.Queue()
        self._slots = asyncio.Semaphore(AT_ONCE)

    def use(self, settings: MediaSettings) -> None:
        """Go by these settings from the next file on."""
        self._limit = settings.max_bytes

    def wanted(self, message: Message) -> None:
        """A message was stored that waits for its file. Twice is once."""
        if message.id not in self._known:
            self._known.add(message.id)
            until = self._clock.monotonic() + WAIT_LIMIT_S
            self._line_up(Wanted(message.account_id, message.device_id, message.id, until))

    async def run(self) -> None:
        """Take up what an earlier run left, then fetch what comes. For ever."""
        for message in await self._db.reader.all(messages.untold()):
            self.wanted(message)
        async with asyncio.TaskGroup() as group:
            while True:
                device_id = await self._fresh.get()
                group.create_task(self._work(device_id), name=f"downloads:{device_id}")

    def _line_up(self, wanted: Wanted) -> None:
        line = self._lines.get(wanted.device_id)
        if line is None:
            line = self._lines[wanted.device_id] = deque()
            self._fresh.put_nowait(wanted.device_id)
        line.append(wanted)

    async def _work(self, device_id: str) -> None:
        """Fetch and tell everything in the device's line."""
        line = self._lines[device_id]
        while line:
            wanted = line.popleft()
            try:
                await self._settle(wanted)
            except Exception as error:
                # One message's trouble must not stop the others: it is said, and tried again later.
                log.exception("download_broke", extra={"device": device_id, "error": type(error).__name__})
                asyncio.get_running_loop().call_later(WAIT_STEP_S, self._line_up, wanted)
            else:
                self._known.discard(wanted.message_id)
        del self._lines[device_id]

    async def _settle(self, wanted: Wanted) -> None:
        message = await self._db.reader.one(messages.by_id(wanted.account_id, wanted.message_id))
        if message is None or message.told:
            return
        file = await self._file_of(message)
        if file is not None and file.state is MediaState.PENDING:
            file = await self._fetched(file, wanted)
        await self._tell(message, file)

    async def _file_of(self, message: Message) -> MediaFile | None:
        if message.media_id is None:
            return None
        return await self._db.reader.one(media.of_account(message.account_id, message.media_id))

    async def _fetched(self, file: MediaFile, wanted: Wanted) -> MediaFile:
        """The file as it is now: stored, or failed with its error."""
        path = self._shelf.path_of(file)
        error = TOO_LARGE if (file.size or 0) > self._limit else await self._fetch(file, path, wanted)
        if error is not None:
            log.warning("media_not_fetched", extra={"device": file.device_id, "code": error})
            return msgspec.structs.replace(file, state=MediaState.FAILED, error=error)
        size = (await asyncio.to_thread(path.stat)).st_size
        return msgspec.structs.replace(file, state=MediaState.STORED, size=size, error=None)

    async def _fetch(self, file: MediaFile, path: Path, wanted: Wanted) -> str | None:
        """Fetch into `path`, trying again where that may help; an error code when it cannot be."""
        pauses = deque(self._pauses_s)
        while await self._connected(wanted):
            try:
                async with self._slots:
                    await self._attempt(file, path)
            except _NotFetched as failure:
                if failure.final or not pauses:
                    return failure.code
                await asyncio.sleep(pauses[0])
                if not failure.offline or self._clock.monotonic() >= wanted.until:
                    pauses.popleft()
            else:
                return None
        return UNREACHABLE

    async def _attempt(self, file: MediaFile, path: Path) -> None:
        """One try, after which the file is at `path`. Raises _NotFetched."""
        session = self._devices.session(file.device_id)
        if session is None:
            raise _NotFetched(UNREACHABLE, offline=True)
        draft = draft_of(path)
        try:
            await asyncio.to_thread(draft.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
            async with asyncio.timeout(DEADLINE_S):
                size = await session.download(file.source or b"", draft)
            if size > self._limit:
                raise _NotFetched(TOO_LARGE, final=True)
            await asyncio.to_thread(_keep, draft, path)
        except EngineError as error:
            final = error.code == UNAVAILABLE
            raise _NotFetched(UNAVAILABLE if final else UNREACHABLE, final, error.retryable) from None
        except TimeoutError:
            raise _NotFetched(UNREACHABLE) from None
        except OSError as error:
            full = isinstance(disk_error(error), StorageFull)
            raise _NotFetched(STORAGE_FULL if full else UNREACHABLE) from None
        finally:
            draft.unlink(missing_ok=True)

    async def _connected(self, wanted: Wanted) -> bool:
        """Wait until the device is connected; False when it will not be, or not in time."""
        while True:
            waiter = self._events.waiter(wanted.account_id)
            device = self._devices.known(wanted.device_id)
            if device is None or not device.linked:
                return False
            if device.status is DeviceStatus.CONNECTED and self._devices.session(device.id) is not None:
                return True
            left_s = wanted.until - self._clock.monotonic()
            if left_s <= 0:
                return False
            await self._events.wait(waiter, min(left_s, WAIT_STEP_S))

    async def _tell(self, message: Message, file: MediaFile | None) -> None:
        """Settle the file and tell the message in one transaction; a refusing disk is waited for."""
        while True:
            try:
                event_no = await self._db.transaction(lambda tx: self._settled(tx, message, file))
                break
            except (StoreError, StorageFull) as error:
                log.warning("telling_waits_for_disk", extra={"code": error.code})
                await asyncio.sleep(DISK_PAUSE_S)
        if event_no is not None:
            self._events.was_told(message.id, event_no)
            self._events.wake(message.account_id)
        elif file is not None:
            await self._shelf.delete([file])

    def _settled(self, tx: Transaction, message: Message, file: MediaFile | None) -> int | None:
        """The event's number; None when the message was deleted or told meanwhile."""
        current = tx.one(messages.by_id(message.account_id, message.id))
        if current is None or current.told:
            return None
        if file is not None:
            media.settle(tx, file.id, file.state, file.size, file.error)
        messages.mark_told(tx, current.no)
        described = self._shelf.describe(file) if file is not None else None
        return self._events.append(tx, telling.message_received(current, described))


def _keep(draft: Path, path: Path) -> None:
    """Give the fetched file its name, for good: it must be there once it is told. Raises OSError."""
    settle_file(draft)
    draft.replace(path)
    settle_file(path)
