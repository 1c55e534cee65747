"""What every route that sends does: find the device, accept the draft, wait a while, say what became of
it."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from litestar import Request, Response

from appliance.api import rate_headers
from appliance.api.frame import add_header
from appliance.api.idempotency_key import key_of
from appliance.api.message_answers import MessageAnswer, message_answer
from appliance.api.preferences import wait_s, wants_no_wait
from appliance.api.streams import Streams
from appliance.gateway import refusals
from appliance.gateway.drafts import Draft
from appliance.gateway.gateway import Gateway
from appliance.gateway.outbox import Accepted, Idempotency
from appliance.model.account import Account
from appliance.model.device import Device, DeviceStatus
from appliance.model.errors import FieldError, GatewayError, InvalidRecipient
from appliance.model.jid import Jid
from appliance.model.message import WAITING, Message, MessageStatus

Fingerprint = Callable[[], bytes]
"""What tells a repeat from another request, reckoned only for those that have a key."""
_PENDING = {*WAITING, MessageStatus.UNCONFIRMED, MessageStatus.FAILED}


class RateNow(msgspec.Struct, rename="camel"):
    limit: int
    remaining: int
    reset_at: int


class DryRun(msgspec.Struct, rename="camel"):
    """What sending would meet; `registered` None: it could not be asked."""

    dry_run: bool
    remote_jid: str
    registered: bool | None
    device_status: DeviceStatus
    rate_limit: RateNow


class Sending:
    """One request to send. It announces the device's rate limit on every answer as soon as it knows the
    device. `is_accepted`: a new message is on disk, and its file is needed."""

    def __init__(
        self,
        request: Request[Any, Any, Any],
        gateway: Gateway,
        account: Account,
        fields: Mapping[str, Any],
    ) -> None:
        self._request = request
        self._gateway = gateway
        self._account = account
        self.is_accepted = False
        with contextlib.suppress(GatewayError):
            named = fields.get("deviceId") or None
            rate_headers.announce(request, gateway, self.device(named if isinstance(named, str) else None).id)

    def device(self, device_id: str | None) -> Device:
        """The sending device. Raises NotFound, DeviceRequired."""
        return self._gateway.devices.resolve(self._account.id, device_id)

    def check(self, device: Device) -> None:
        """Raise what would refuse any message of the device now, before a file is fetched for one."""
        if refusal := refusals.of_device(device):
            raise refusal
        self._gateway.limits.give_back(self._gateway.limits.take(device.id))

    async def replay(self, fingerprint: Fingerprint) -> Response[MessageAnswer] | None:
        """The answer to a repeat, None when the request is new."""
        idempotency = self._idempotency(fingerprint)
        if idempotency is None:
            return None
        earlier = await self._gateway.outbox.replay(self._account, idempotency)
        return None if earlier is None else await self._answer(earlier)

    async def rehearse(self, device: Device, draft: Draft) -> Response[DryRun]:
        found = await self._gateway.outbox.rehearse(device, draft)
        rate = RateNow(found.rate.limit, found.rate.remaining, found.rate.reset_at)
        answer = DryRun(True, found.remote_jid, found.registered, found.status, rate)
        return Response(answer, status_code=200)

    async def send(self, device: Device, draft: Draft, fingerprint: Fingerprint) -> Response[MessageAnswer]:
        """Accept the draft and answer. Raises the refusals of Outbox.accept, and WhatsApp's within the
        wait."""
        idempotency = self._idempotency(fingerprint)
        try:
            at_once = not wants_no_wait(self._request)
            accepted = await self._gateway.outbox.accept(
                self._account, device, draft, idempotency, at_once=at_once
            )
        except asyncio.CancelledError:
            self.is_accepted = True  # perhaps: a change that was begun is committed all the same
            raise
        self.is_accepted = not accepted.replayed
        return await self._answer(accepted)

    def _idempotency(self, fingerprint: Fingerprint) -> Idempotency | None:
        key = key_of(self._request)
        return Idempotency(key, fingerprint()) if key is not None else None

    async def _answer(self, accepted: Accepted) -> Response[MessageAnswer]:
        """201 sent, 202 not yet or not known, the refusal when WhatsApp refused."""
        if accepted.replayed:
            add_header(self._request, "Idempotent-Replayed", "true")
        message = await self._waited(accepted.message)
        answer = message_answer(message)
        if message.status is MessageStatus.FAILED and (refusal := refusals.of_message(message)):
            refusal.extra["message"] = answer
            raise refusal
        return Response(answer, status_code=202 if message.status in _PENDING else 201)

    async def _waited(self, message: Message) -> Message:
        device = self._gateway.devices.known(message.device_id)
        is_connected = device is not None and device.status is DeviceStatus.CONNECTED
        seconds = wait_s(self._request, is_connected=is_connected)
        if seconds > 0 and message.status in WAITING:
            streams: Streams = self._request.app.state.streams
            async with streams.until_stop():
                message = await self._gateway.outbox.wait(self._account, message, seconds)
        return message


def mentioned(gateway: Gateway, typed: list[str]) -> tuple[Jid, ...]:
    """The addresses of `mentions`. Raises InvalidRecipient naming the one that is none."""
    found = []
    for index, text in enumerate(typed):
        try:
            found.append(gateway.outbox.recipient(text))
        except InvalidRecipient as error:
            suggestion = error.errors[0].suggestion
            named = FieldError(f"mentions[{index}]", error.detail, suggestion)
            raise InvalidRecipient(error.detail, errors=(named,)) from None
    return tuple(found)
