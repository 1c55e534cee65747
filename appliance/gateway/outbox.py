"""The way out: a message is accepted onto disk first; the drains hand it to WhatsApp, and whoever waits is
told."""

import asyncio
import contextlib
import functools
import weakref
from collections.abc import Callable

import msgspec

from appliance.engine.base import EngineError
from appliance.gateway import refusals
from appliance.gateway.devices import DeviceManager
from appliance.gateway.drafts import Draft, compose
from appliance.gateway.drains import Drains
from appliance.gateway.limits import LimitSettings, RateLimits, RateState
from appliance.gateway.sandbox_numbers import rehearsed_refusal
from appliance.model.account import Account
from appliance.model.clock import Clock
from appliance.model.device import Device, DeviceStatus
from appliance.model.errors import IdempotencyKeyReused, NotFound, QueueFull, SandboxNumber
from appliance.model.jid import Jid, recipient
from appliance.model.message import WAITING, Message, MessageStatus
from appliance.store import messages
from appliance.store.database import Database, Reader, Transaction
from appliance.store.messages import Idempotent


class Idempotency(msgspec.Struct, frozen=True):
    """The caller's key, and the hash of what the request says."""

    key: str
    fingerprint: bytes


class Accepted(msgspec.Struct, frozen=True):
    """A message that is on disk; `replayed` when an earlier request with the same key made it."""

    message: Message
    replayed: bool


class Rehearsal(msgspec.Struct, frozen=True):
    """What sending would meet: `registered` is None when it could not be asked."""

    remote_jid: str
    registered: bool | None
    status: DeviceStatus
    rate: RateState


class Outbox:
    """Accepts messages and tells what became of them."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        devices: DeviceManager,
        drains: Drains,
        limits: RateLimits,
        settings: LimitSettings,
        refuse_when_low: Callable[[], None],
    ) -> None:
        self._db = db
        self._reader: Reader = db.reader
        self._clock = clock
        self._devices = devices
        self._drains = drains
        self._limits = limits
        self._settings = settings
        self._refuse_when_low = refuse_when_low
        # A lock goes with the last request that holds on to it.
        self._turns: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )

    def use(self, settings: LimitSettings) -> None:
        """Go by these settings from now on."""
        self._settings = settings

    def recipient(self, typed: str) -> Jid:
        """Whom `typed` means, with the country code of the settings. Raises InvalidRecipient."""
        return recipient(typed, self._settings.default_country_code)

    def waiting(self, device_id: str) -> int:
        """How many messages of the device wait to be sent."""
        return self._drains.waiting(device_id)

    async def replay(self, account: Account, idempotency: Idempotency) -> Accepted | None:
        """The message that the key made, None when it is new. Raises IdempotencyKeyReused."""
        used = await self._reader.one(messages.idempotent(account.id, idempotency.key))
        if used is None:
            return None
        check_same(used, idempotency)
        message = await self._reader.one(messages.by_id(account.id, used.message_id))
        return None if message is None else Accepted(message, replayed=True)

    async def accept(
        self,
        account: Account,
        device: Device,
        draft: Draft,
        idempotency: Idempotency | None = None,
        *,
        at_once: bool = False,
    ) -> Accepted:
        """Put the message on disk and see that its device's drain sends it. `at_once`: somebody waits for it
        to be sent, so that it is claimed in the same transaction if nothing is before it.

        Raises the device's refusal, SandboxNumber, RateLimited, QueueFull, Invalid, IdempotencyKeyReused,
        StorageFull;
        after any of them nothing is stored and no token is gone.
        """
        if idempotency is None:
            return await self._accept_new(account, device, draft, None, at_once)
        # In turn, for a repeat takes no token: many at once would take one each before the first is on disk.
        async with self._turns.setdefault((account.id, idempotency.key), asyncio.Lock()):
            replayed = await self.replay(account, idempotency)
            return replayed or await self._accept_new(account, device, draft, idempotency, at_once)

    async def _accept_new(
        self,
        account: Account,
        device: Device,
        draft: Draft,
        idempotency: Idempotency | None,
        at_once: bool,
    ) -> Accepted:
        self._check(device, draft)
        token = self._limits.take(device.id)
        try:
            message = await compose(self._reader, account, device, draft, self._clock.now_ms())
        except BaseException:
            self._limits.give_back(token)
            raise
        has_place = self._drains.announce(message, token, at_once=at_once)
        try:
            accept = functools.partial(
                self._accept, message=message, idempotency=idempotency, claims=has_place
            )
            accepted = await self._db.transaction(accept)
        except asyncio.CancelledError:
            self._drains.look_for(message, has_place=has_place)
            raise
        except BaseException:
            self._drains.withdraw(message, has_place=has_place)
            raise
        if accepted.replayed:
            self._drains.withdraw(message, has_place=has_place)
        else:
            self._drains.accepted_one(message, has_place=has_place)
        return accepted

    async def wait(self, account: Account, message: Message, seconds: float) -> Message:
        """The message once it no longer waits to be sent, or as it is after `seconds`."""
        if message.status not in WAITING:
            return message
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return await asyncio.shield(self._drains.end_of(message.id))
        return await self._reader.one(messages.by_id(account.id, message.id)) or message

    async def rehearse(self, device: Device, draft: Draft) -> Rehearsal:
        """What sending the draft would meet; nothing is stored and no token taken."""
        self._check_number(device, draft)
        registered = None
        session = self._devices.session(device.id)
        jid = str(draft.to)
        if session is not None and device.status is DeviceStatus.CONNECTED and draft.to.phone is not None:
            with contextlib.suppress(EngineError):
                found = (await session.check([draft.to.phone])).get(draft.to.phone)
                registered, jid = found is not None, found or jid
        return Rehearsal(jid, registered, device.status, self._limits.state(device.id))

    def _check(self, device: Device, draft: Draft) -> None:
        self._check_number(device, draft)
        self._refuse_when_low()
        if refusal := refusals.of_device(device):
            raise refusal
        if device.sandbox and (refusal := rehearsed_refusal(draft.to)):
            raise refusal
        if self._drains.waiting(device.id) >= self._settings.queue_per_device:
            raise QueueFull(f"{self._settings.queue_per_device} messages of this device wait to be sent.")

    def _check_number(self, device: Device, draft: Draft) -> None:
        if draft.to.is_sandbox and not device.sandbox:
            raise SandboxNumber("Numbers that begin with 999 are for sandbox devices.")

    def _accept(
        self, tx: Transaction, message: Message, idempotency: Idempotency | None, claims: bool
    ) -> Accepted:
        if idempotency is not None:
            used = tx.one(messages.idempotent(message.account_id, idempotency.key))
            if used is not None:
                check_same(used, idempotency)
                earlier = tx.one(messages.by_id(message.account_id, used.message_id))
                if earlier is None:
                    raise NotFound("The message of that Idempotency-Key was deleted.")
                return Accepted(earlier, replayed=True)
            fresh = Idempotent(idempotency.fingerprint, message.id)
            messages.remember_key(tx, message.account_id, idempotency.key, fresh, message.created_at)
        # The rows know best whether another one is to be sent first.
        is_first = claims and tx.one(messages.next_queued(message.device_id)) is None
        message.status = MessageStatus.SENDING if is_first else MessageStatus.QUEUED
        message.no = messages.insert(tx, message)
        return Accepted(message, replayed=False)


def check_same(used: Idempotent, idempotency: Idempotency) -> None:
    """Raises IdempotencyKeyReused when the key stood for another request."""
    if used.fingerprint != idempotency.fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key was used for a request that said something else.")
