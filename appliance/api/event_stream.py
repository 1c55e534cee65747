"""One event stream as Server-Sent Events: at every wake it takes what is new from the account's tape, and
from the table when it is further behind: a slow reader costs no queue and a late one loses nothing."""

from collections.abc import AsyncIterator

import msgspec

from appliance.api.event_tape import Part, Wanted, entry_of, message
from appliance.api.streams import Stream, Streams
from appliance.gateway import qr_image, telling
from appliance.gateway.gateway import Gateway
from appliance.model.account import Account
from appliance.model.device import Device
from appliance.model.event import EventType
from appliance.store import accounts, devices, events

RETRY_MS = 3000
KEEP_ALIVE_S = 15.0
DEVICES_LIMIT = 10_000
PAGE = 4
"""Events read from the table at once: what a reader that has stopped reading holds in memory, at up to
100 kB each."""


class QrTold(msgspec.Struct, rename="camel"):
    """Data of `event: qr`. `qr` is the raw text, `image` a data address, `expires_at` ms."""

    device_id: str
    qr: str
    image: str
    seq: int
    expires_at: int


class Gap(msgspec.Struct):
    """Data of `event: gap`: what came before event `oldest` is not all kept any more (None: nothing is)."""

    oldest: int | None


class EventStream:
    """What one subscriber is told: a device's events, or with `device_id` None the account's."""

    def __init__(
        self,
        gateway: Gateway,
        account: Account,
        device_id: str | None,
        types: tuple[EventType, ...] = (),
        last_event_id: int | None = None,
    ) -> None:
        self._gateway = gateway
        self._account = account
        self._device_id = device_id
        self._wanted = Wanted(types, device_id)
        self._after = last_event_id
        self._start = 0
        self._told_qr: dict[str, str] = {}

    async def chunks(self, streams: Streams) -> AsyncIterator[bytes]:
        """The stream's bytes until it is ended."""
        with streams.opened(self._account.id) as stream:
            yield b"retry: %d\n\n" % RETRY_MS
            for chunk in await self._beginning(stream):
                yield chunk
            async for chunk in self._follow(stream, streams):
                yield chunk

    async def _beginning(self, stream: Stream) -> list[bytes]:
        """What a stream tells first. It also notes the number that everything else follows."""
        async with self._gateway.reader.snapshot() as moment:
            account = await moment.one(accounts.by_id(self._account.id))
            latest = await moment.one(events.latest(self._account.id)) or 0
            floor = await moment.one(events.floor(self._account.id)) or 0
            highest = await moment.one(events.highest()) or 0
            # From the table, not from memory: memory follows a commit a moment later, and a change that
            # the starting number already covers would never be told.
            mine = [d for _, d in await moment.all(devices.page(self._account.id, None, DEVICES_LIMIT))]
        self._start = max(latest, floor)
        if account is None or account.key_hash != self._account.key_hash:
            stream.end()  # the key was rotated while the stream was being opened
            return []
        if self._after is None:
            self._after = self._start
            now = self._gateway.clock.now_ms()
            return [_status(device, now) for device in reversed(mine) if self._device_id in {None, device.id}]
        if self._after <= highest:
            return []  # should it lie below the floor, the table's reading tells so
        self._after = self._start
        return [await self._gap(floor)]

    async def _follow(self, stream: Stream, streams: Streams) -> AsyncIterator[bytes]:
        log = self._gateway.events
        while stream.is_open() and not self._is_gone():
            assert self._after is not None
            waiter = log.waiter(self._account.id)
            tape = streams.tape(self._account.id, self._start)
            part = await tape.after(self._after, self._wanted) or await self._from_table()
            self._after = part.upto
            for chunk in (part.told, *self._new_qr_codes()):
                if not stream.is_open():
                    return
                if chunk:
                    yield chunk
            if not part.more and stream.is_open() and not await log.wait(waiter, KEEP_ALIVE_S):
                tape.changed()
                yield b": still here\n\n"

    async def _from_table(self) -> Part:
        """A reader far behind is told the oldest first, and when some of it went meanwhile."""
        assert self._after is not None
        wanted = self._wanted
        page = await self._gateway.events.read(
            self._account.id, self._after, PAGE, wanted.types, wanted.device_id
        )
        if page.floor > self._after:
            return Part(await self._gap(page.floor), page.floor, more=True)
        told = b"".join(entry_of(event).told for event in page.events)
        return Part(told, page.upto, more=len(page.events) == PAGE)

    async def _gap(self, floor: int) -> bytes:
        kept = await self._gateway.events.page(self._account.id, floor, 1)
        return message(b"gap", msgspec.json.encode(Gap(kept[0].no if kept else None)))

    def _is_gone(self) -> bool:
        return self._device_id is not None and self._gateway.devices.known(self._device_id) is None

    def _new_qr_codes(self) -> list[bytes]:
        found = []
        for device in self._gateway.devices.of_account(self._account.id):
            shown = (
                self._gateway.devices.current_qr(device.id) if self._device_id in {None, device.id} else None
            )
            if shown is not None and shown.qr != self._told_qr.get(device.id):
                self._told_qr[device.id] = shown.qr
                image = qr_image.data_uri(shown.qr)
                told = QrTold(device.id, shown.qr, image, shown.seq, shown.expires_at)
                found.append(message(b"qr", msgspec.json.encode(told)))
        return found


def _status(device: Device, now_ms: int) -> bytes:
    return message(b"status", msgspec.json.encode(telling.device_status(device, now_ms).data))
