"""The sandbox: what callers let the pretend phone, and the people it knows, do to a sandbox device."""

import asyncio
import contextlib
from typing import Protocol

import msgspec

from appliance.engine.base import (
    EngineError,
    OutgoingMedia,
    PretendMessage,
    Quoted,
    ReceiptIn,
    SandboxControl,
    StateChanged,
)
from appliance.gateway import refusals
from appliance.gateway.devices import DeviceManager
from appliance.gateway.events import EventLog
from appliance.model import errors
from appliance.model.clock import Clock
from appliance.model.device import Device, DeviceStatus
from appliance.model.errors import GatewayError, Invalid, NextStep
from appliance.model.ids import is_id
from appliance.model.message import Message, MessageStatus
from appliance.store import events, messages
from appliance.store.database import Reader

TOLD_DEADLINE_S = 20.0
_SOMEBODY = "999000000010@s.whatsapp.net"


class GivenFiles(Protocol):
    """Files that callers give by URL or in base64."""

    def borrow(
        self, kind: str, *, url: str | None, base64: str | None, filename: str | None, mimetype: str | None
    ) -> contextlib.AbstractAsyncContextManager[OutgoingMedia]:
        """The file, on disk for the length of the context. Raises MediaError and its kin, Invalid."""
        ...


class SandboxMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message to be received: `message` without `reply` and `target`, which stand here as our ids or
    WhatsApp's; its file as `url` or `base64` if it is not to be a sample. It comes after `delay_s`, `count`
    times."""

    message: PretendMessage
    reply_to: str | None = None
    target: str | None = None
    url: str | None = None
    base64: str | None = None
    delay_s: float = 0.0
    count: int = 1


class Received(msgspec.Struct, frozen=True):
    """The ids under which a message was stored and told (the last one of several). `event_id` is None when
    it was told so long ago that the event is gone, or its file is not here in time; `timestamp` seconds."""

    id: str
    event_id: int | None
    message_id: str
    remote_jid: str
    timestamp: int
    count: int


class Sandbox:
    """Pulls the simulator's strings for the owner of a device. All of it raises NotFound, SandboxOnly."""

    def __init__(
        self,
        reader: Reader,
        clock: Clock,
        devices: DeviceManager,
        events: EventLog,
        files: GivenFiles,
        control: SandboxControl,
    ) -> None:
        self._reader = reader
        self._clock = clock
        self._devices = devices
        self._events = events
        self._files = files
        self._control = control

    async def scan(
        self, account_id: str, device_id: str, phone: str | None = None, push_name: str | None = None
    ) -> Device:
        """The pretend phone scans the QR code (or takes the link code). Raises AlreadyLinked, NoQr."""
        device = self._sandbox_device(account_id, device_id)
        if device.linked:
            raise errors.AlreadyLinked("Unlink the device first: POST /devices/{id}/logout.")
        try:
            await self._control.scan(device.id, phone, push_name)
        except EngineError as error:
            raise _refusal(error, device) from None
        return self._devices.get(account_id, device_id)

    async def state(
        self, account_id: str, device_id: str, change: StateChanged, after_s: float = 0.0
    ) -> Device:
        """The device falls into a state, now or `after_s` from now; CONNECTED heals it, also after a stop.

        Raises DeviceNotLinked, DeviceLoggedOut, DeviceDisconnected.
        """
        device = self._sandbox_device(account_id, device_id)
        if not device.linked:
            raise self._unfit(device)
        if change.status is DeviceStatus.CONNECTED and after_s <= 0:
            device = await self._devices.connect(account_id, device_id)
        elif not device.wanted:
            raise self._unfit(device)
        try:
            await self._control.set_state(device.id, change, after_s)
        except EngineError as error:
            raise _refusal(error, device) from None
        return self._devices.get(account_id, device_id)

    async def receipt(
        self,
        account_id: str,
        device_id: str,
        message_id: str,
        status: MessageStatus,
        participant: str | None = None,
    ) -> Message:
        """Somebody's phone confirms a message of ours: the message as it is then. Raises Invalid."""
        device = self._connected_device(account_id, device_id)
        message = await self._reader.one(messages.on_device(device.id, message_id))
        if message is None or not message.from_me or message.wa_id is None:
            raise Invalid("This device has sent no message with that id.", field="messageId")
        in_group = message.chat.endswith("@g.us")
        failed = status is MessageStatus.FAILED
        receipt = ReceiptIn(
            chat=message.chat,
            sender=participant or (_SOMEBODY if in_group else message.chat),
            wa_ids=[message.wa_id],
            status=status,
            timestamp=self._clock.now_ms() // 1000,
            error_code="engine_error" if failed else None,
            error_message="WhatsApp took the message back (rehearsed)" if failed else None,
        )
        try:
            await self._control.receipt(device.id, receipt)
        except EngineError as error:
            raise _refusal(error, device) from None
        return await self._reader.one(messages.by_id(account_id, message.id)) or message

    async def receive(self, account_id: str, device_id: str, wanted: SandboxMessage) -> Received:
        """Somebody writes: what was stored, after its COMMIT. A repeat answers the ids of the first.

        Raises what a device that is not connected raises, Invalid, and what the file's source raises.
        """
        device = self._connected_device(account_id, device_id)
        message = msgspec.structs.replace(
            wanted.message,
            reply=await self._named(device, wanted.reply_to, "replyTo"),
            target=await self._named(device, wanted.target, "target"),
        )
        await asyncio.sleep(wanted.delay_s)
        try:
            message_id, event_no = await self._write(device, message, wanted)
        except EngineError as error:
            raise _refusal(error, self._devices.get(account_id, device_id)) from None
        except ValueError as error:
            raise Invalid(f"{error}.", field="kind") from None
        row = await self._reader.one(messages.by_id(account_id, message_id))
        if row is None:
            raise errors.NotFound("The device was deleted meanwhile.")
        told_as = event_no or await self._told_as(row)
        return Received(row.id, told_as, row.wa_id or "", row.chat, row.timestamp or 0, wanted.count)

    async def hear(
        self, account_id: str, device_id: str, kind: str, phone: str, text: str | None
    ) -> Received:
        """Somebody with that number writes a text, or sends a sample file of that kind. Raises as
        `receive`."""
        message = PretendMessage(kind=kind, phone=phone, text=text)
        return await self.receive(account_id, device_id, SandboxMessage(message=message))

    async def _write(
        self, device: Device, message: PretendMessage, wanted: SandboxMessage
    ) -> tuple[str, int | None]:
        """The last message's id and event number, None while its file is on the way."""
        if wanted.url is None and wanted.base64 is None:
            told = await self._control.write(device.id, message, wanted.count)
        else:
            file = self._files.borrow(
                message.kind,
                url=wanted.url,
                base64=wanted.base64,
                filename=message.filename,
                mimetype=message.mimetype,
            )
            async with file as media:
                told = await self._control.write(device.id, _with_file(message, media), wanted.count)
        _, applied = told[-1]
        if applied.message_id is None:
            raise EngineError("engine_error", "The message could not be stored.")
        return applied.message_id, applied.event_no

    async def _told_as(self, message: Message) -> int | None:
        query = events.told_as(message.device_id, message.id)
        if (no := await self._reader.one(query)) is not None:
            return no
        expected = self._events.expect(message.id)
        if (no := await self._reader.one(query)) is not None:
            return no  # it was told between the first look and the expectation
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TOLD_DEADLINE_S):
                return await asyncio.shield(expected)
        return None

    async def _named(self, device: Device, any_id: str | None, field: str) -> Quoted | None:
        """The message a caller means; WhatsApp's id of one that is not known here is taken as it is."""
        if any_id is None:
            return None
        known = await self._reader.one(messages.on_device(device.id, any_id))
        if known is not None and known.wa_id is not None:
            author = known.participant or known.chat
            return Quoted(known.wa_id, None if known.from_me else author, known.text)
        if is_id(any_id):
            raise Invalid("This device has no sent or received message with that id.", field=field)
        return Quoted(any_id)

    def _sandbox_device(self, account_id: str, device_id: str) -> Device:
        device = self._devices.get(account_id, device_id)
        if not device.sandbox:
            raise errors.SandboxOnly("Make a sandbox device for this: POST /devices with sandbox: true.")
        return device

    def _connected_device(self, account_id: str, device_id: str) -> Device:
        device = self._sandbox_device(account_id, device_id)
        if device.status is not DeviceStatus.CONNECTED:
            raise self._unfit(device)
        return device

    def _unfit(self, device: Device) -> GatewayError:
        return refusals.of_device(device) or _not_connected(device)


def _with_file(message: PretendMessage, file: OutgoingMedia) -> PretendMessage:
    return msgspec.structs.replace(
        message,
        path=file.path,
        mimetype=message.mimetype or file.mimetype,
        filename=message.filename or file.filename,
        seconds=file.seconds if message.seconds is None else message.seconds,
    )


def _not_connected(device: Device) -> GatewayError:
    step = NextStep("POST", f"/api/devices/{device.id}/sandbox/state", "CONNECTED brings it back")
    return errors.DeviceDisconnected(f"The device is {device.status} now.", next_step=step)


def _refusal(error: EngineError, device: Device) -> GatewayError:
    """The simulator's refusal as one for the caller."""
    match error.code:
        case "no_qr":
            step = NextStep("POST", f"/api/devices/{device.id}/connect", "shows a QR code")
            return errors.NoQr("Connect the device first; then it can be scanned.", next_step=step)
        case "not_connected":
            return refusals.of_device(device) or _not_connected(device)
        case "engine_timeout":
            return errors.EngineTimeout("It was not committed in time; it may still come.")
        case _:
            return errors.EngineFailure(error.text)
