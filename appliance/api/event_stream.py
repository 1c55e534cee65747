"""One event stream as Server-Sent Events: it re-reads the table at every wake, so that a slow reader costs
no queue and a late one loses nothing."""

from collections.abc import AsyncIterator

import msgspec

from appliance.api.streams import Stream, Streams
from appliance.gateway import qr_image, telling
from appliance.gateway.gateway import Gateway
from appliance.model.account import Account
from appliance.model.device import Device
from appliance.model.event import Event, EventType
from appliance.store import accounts, devices, events

RETRY_MS = 3000
KEEP_ALIVE_S = 15.0
DEVICES_LIMIT = 10_000
PAGE = 4
"""Events read at once: what a reader that has stopped reading holds in memory, at up to 100 kB each."""

_NAMES = {EventType.DEVICE_STATUS: b"status"}


class QrTold(msgspec.Struct, rename="camel"):
    """Data of `event: qr`. `qr` is the raw text, `image` a data address, `expires_at` ms."""

    device_id: str
    qr: str
    image: str
    seq: int
    expires_at: int


class Gap(msgspec.Struct):
    """Data of `event: gap`: what came before event `oldest` is no longer kept (None: nothing is)."""

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
        self._types = types
        self._after = last_event_id
        self._told_qr: dict[str, str] = {}

    async def chunks(self, streams: Streams) -> AsyncIterator[bytes]:
        """The stream's bytes until it is ended."""
        with streams.opened(self._account.id) as stream:
            yield b"retry: %d\n\n" % RETRY_MS
            for chunk in await self._beginning(stream):
                yield chunk
            async for chunk in self._follow(stream):
                yield chunk

    async def _beginning(self, stream: Stream) -> list[bytes]:
        """What a stream tells first. It also notes the number that everything else follows."""
        async with self._gateway.reader.snapshot() as moment:
            account = await moment.one(accounts.by_id(self._account.id))
            latest = await moment.one(events.latest(self._account.id)) or 0
            kept = await moment.one(events.after(self._account.id, 0, 1))
            floor = await moment.one(events.floor(self._account.id)) or 0
            highest = await moment.one(events.highest()) or 0
            # From the table, not from memory: memory follows a commit a moment later, and a change that
            # the starting number already covers would never be told.
            mine = [d for _, d in await moment.all(devices.page(self._account.id, None, DEVICES_LIMIT))]
        if account is None or account.key_hash != self._account.key_hash:
            stream.end()  # the key was rotated while the stream was being opened
            return []
        if self._after is None:
            self._after = latest
            now = self._gateway.clock.now_ms()
            return [_status(device, now) for device in reversed(mine) if self._device_id in {None, device.id}]
        if floor <= self._after <= highest:
            return []
        self._after = floor if self._after < floor else latest
        return [_message(b"gap", msgspec.json.encode(Gap(kept.no if kept else None)))]

    async def _follow(self, stream: Stream) -> AsyncIterator[bytes]:
        log = self._gateway.events
        while stream.is_open() and not self._is_gone():
            assert self._after is not None
            waiter = log.waiter(self._account.id)
            page = await log.page(self._account.id, self._after, PAGE, self._types, self._device_id)
            for event in page:
                self._after = event.no
                yield _event(event)
                if not stream.is_open():
                    return
            for chunk in self._new_qr_codes():
                yield chunk
            if len(page) < PAGE and stream.is_open() and not await log.wait(waiter, KEEP_ALIVE_S):
                yield b": still here\n\n"

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
                found.append(_message(b"qr", msgspec.json.encode(told)))
        return found


def _event(event: Event) -> bytes:
    name = _NAMES.get(event.type, event.type.encode())
    return b"id: %d\n%s" % (event.no, _message(name, event.data))


def _status(device: Device, now_ms: int) -> bytes:
    return _message(b"status", msgspec.json.encode(telling.device_status(device, now_ms).data))


def _message(name: bytes, data: bytes) -> bytes:
    """`data` is compact JSON, which holds no line breaks of its own."""
    return b"event: %s\ndata: %s\n\n" % (name, data)
