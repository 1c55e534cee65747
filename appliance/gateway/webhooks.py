"""Webhook endpoints: made, changed, tested and replayed by the account they belong to."""

from collections.abc import Callable, Mapping
from typing import TypeVar, get_args

import msgspec

from appliance.gateway.allow_list import parse_rule
from appliance.gateway.destinations import Destinations
from appliance.gateway.endpoint_rules import (
    checked_events,
    checked_filters,
    checked_headers,
    checked_secret,
)
from appliance.gateway.endpoint_seal import EndpointSeal
from appliance.gateway.events import EventLog
from appliance.gateway.sample_events import sample
from appliance.gateway.signing import new_secret
from appliance.gateway.vault import Vault
from appliance.model.clock import Clock
from appliance.model.errors import Conflict, NextStep, NotFound
from appliance.model.event import EventType
from appliance.model.ids import new_id
from appliance.model.jid import ChatKind
from appliance.model.webhook import (
    INSPECTOR_URL,
    Delivery,
    DeliveryStatus,
    Endpoint,
    EndpointFilters,
    EndpointStatus,
)
from appliance.store import deliveries, devices, events, removal, webhooks
from appliance.store.database import Database, Reader, Transaction

T = TypeVar("T")

PREVIOUS_SECRET_MS = 24 * 3600 * 1000
REPLAY_GROUP = 500
_NO_DEVICE = "c" + "0" * 24


class WebhookSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`allow` lists the addresses that are not public and may be delivered to all the same; the grammar is
    that of `gateway/allow_list.py`."""

    allow: list[str] = []

    def __post_init__(self) -> None:
        for entry in self.allow:
            parse_rule(entry)


class EndpointChange(msgspec.Struct, kw_only=True):
    """What an endpoint's owner sets; None leaves it as it is (in a new endpoint: as the contract says). Only
    of `device_id` None means something, every device, and UNSET leaves it."""

    url: str | None = None
    events: list[EventType] | None = None
    device_id: str | msgspec.UnsetType | None = msgspec.UNSET
    filters: EndpointFilters | None = None
    headers: Mapping[str, str] | None = None
    redirect_is_success: bool | None = None
    enabled: bool | None = None


class Webhooks:
    """The accounts' webhook endpoints.

    `on_changed` gets an endpoint's id after every commit that changed it or made deliveries due: the
    delivery worker listens. `under_way` gives the row numbers of what that worker is posting to an endpoint,
    or has posted and not yet recorded: that is not begun anew. `seal` opens what an endpoint keeps secret.
    Every method that is given an id raises NotFound when the account has no such endpoint.
    """

    def __init__(
        self,
        db: Database,
        reader: Reader,
        vault: Vault,
        clock: Clock,
        destinations: Destinations,
        log: EventLog,
    ) -> None:
        self._db = db
        self._reader = reader
        self._clock = clock
        self._destinations = destinations
        self._log = log
        self.seal = EndpointSeal(vault)
        self.on_changed: list[Callable[[str], None]] = []
        self.under_way: Callable[[str], list[int]] = lambda _endpoint_id: []

    async def get(self, account_id: str, endpoint_id: str) -> Endpoint:
        row = await self._reader.one(webhooks.by_id(account_id, endpoint_id))
        return _found(row, "webhook")

    async def create(
        self, account_id: str, url: str, wished: EndpointChange, secret: str | None = None
    ) -> Endpoint:
        """A new endpoint, with a fresh secret unless one is given. Raises Invalid, WebhookUrlForbidden, and
        NotFound for a device that the account does not have."""
        await self._destinations.vet(url)
        plain = Endpoint(
            id=new_id(),
            account_id=account_id,
            url=url,
            events=list(EventType),
            filters=EndpointFilters(),
            secret_sealed=self.seal.seal_secret(checked_secret(secret) if secret else new_secret()),
            created_at=self._clock.now_ms(),
        )
        endpoint = self._changed(plain, wished)

        def write(tx: Transaction) -> Endpoint:
            _check_device(tx, endpoint)
            webhooks.insert(tx, endpoint)
            return endpoint

        return await self._db.transaction(write)

    async def inspector(self, account_id: str) -> Endpoint:
        """The account's inspector: an endpoint for everything whose requests are only shown; it is made
        when there is none."""
        fresh = Endpoint(
            id=new_id(),
            account_id=account_id,
            url=INSPECTOR_URL,
            events=list(EventType),
            filters=EndpointFilters(chat_kinds=list(get_args(ChatKind))),
            secret_sealed=self.seal.seal_secret(new_secret()),
            created_at=self._clock.now_ms(),
        )

        def write(tx: Transaction) -> Endpoint:
            known = tx.one(webhooks.by_url(account_id, INSPECTOR_URL))
            if known is None:
                webhooks.insert(tx, fresh)
            return known or fresh

        return await self._db.transaction(write)

    async def update(self, account_id: str, endpoint_id: str, wished: EndpointChange) -> Endpoint:
        """The endpoint after the change. Enabling it, or giving it another address, begins anew: it counts as
        well, and what waits for it is due. Raises as `create` does."""
        if wished.url is not None:
            await self._destinations.vet(wished.url)

        def write(tx: Transaction) -> Endpoint:
            old = _found(tx.one(webhooks.by_id(account_id, endpoint_id)), "webhook")
            new = self._changed(old, wished)
            _check_device(tx, new)
            webhooks.save(tx, new)
            if new.url != old.url or wished.enabled:
                webhooks.restart(tx, endpoint_id)
            return _found(tx.one(webhooks.by_id(account_id, endpoint_id)), "webhook")

        return await self._committed(endpoint_id, write)

    async def delete(self, account_id: str, endpoint_id: str) -> None:
        """Delete the endpoint with its deliveries."""

        def write(tx: Transaction) -> None:
            if not removal.hide_endpoint(tx, account_id, endpoint_id):
                raise _missing("webhook")

        await self._committed(endpoint_id, write)

    async def rotate_secret(self, account_id: str, endpoint_id: str, secret: str | None = None) -> Endpoint:
        """Give the endpoint another secret; the old one goes on signing beside it for 24 hours."""
        fresh = self.seal.seal_secret(checked_secret(secret) if secret else new_secret())

        def write(tx: Transaction) -> Endpoint:
            old = _found(tx.one(webhooks.by_id(account_id, endpoint_id)), "webhook")
            new = msgspec.structs.replace(
                old,
                secret_sealed=fresh,
                previous_sealed=old.secret_sealed if self.seal.opens(old) else None,
                previous_until=self._clock.now_ms() + PREVIOUS_SECRET_MS,
            )
            webhooks.save(tx, new)
            return new

        return await self._committed(endpoint_id, write)

    async def test(self, account_id: str, endpoint_id: str) -> Delivery:
        """Append an event with `test: true` for this endpoint alone; returns its delivery. Raises Conflict
        when the endpoint is disabled or stopped."""

        def write(tx: Transaction) -> Delivery:
            endpoint = _found(tx.one(webhooks.by_id(account_id, endpoint_id)), "webhook")
            _check_awake(endpoint)
            newest = tx.one(devices.page(account_id, None, 1))
            device_id = endpoint.device_id or (newest[1].id if newest else _NO_DEVICE)
            no = self._log.append(tx, sample(endpoint, device_id, self._clock.now_ms()))
            return tx.all(deliveries.of_event(account_id, no))[0]

        delivery = await self._committed(endpoint_id, write)
        self._log.wake(account_id)
        return delivery

    async def replay(self, account_id: str, endpoint_id: str, delivery_id: str) -> Delivery:
        """Deliver once more, whatever became of it. Raises NotFound, and Conflict when its event is no longer
        kept or the endpoint is disabled or stopped."""
        query, under_way = deliveries.by_id(account_id, endpoint_id, delivery_id), self.under_way(endpoint_id)

        def write(tx: Transaction) -> Delivery:
            endpoint = _found(tx.one(webhooks.by_id(account_id, endpoint_id)), "webhook")
            delivery = _found(tx.one(query), "delivery")
            _check_awake(endpoint)
            if tx.one(events.by_no(delivery.event_no)) is None:
                raise Conflict("The event of this delivery is no longer kept.")
            if delivery.no not in under_way:
                deliveries.requeue(tx, delivery.no, self._clock.now_ms())
            return _found(tx.one(query), "delivery")

        return await self._committed(endpoint_id, write)

    async def replay_range(
        self,
        account_id: str,
        endpoint_id: str,
        since: int,
        until: int | None = None,
        status: DeliveryStatus | None = None,
    ) -> int:
        """Deliver once more what was queued from `since` (ms) to before `until`, in order, and has that
        status; returns how many. What is on its way, or whose event is no longer kept, is left out."""
        _check_awake(await self.get(account_id, endpoint_id))
        now, filters = self._clock.now_ms(), deliveries.Filters(status=status, since=since, until=until)
        # Rows that are queued meanwhile are not meant.
        total, last, end = 0, 0, await self._reader.one(deliveries.highest()) or 0
        under_way = set(self.under_way(endpoint_id))

        def write(tx: Transaction) -> tuple[int, int] | None:
            nos = tx.all(deliveries.replayable(account_id, endpoint_id, filters, (last, end), REPLAY_GROUP))
            for no in (again := [no for no in nos if no not in under_way]):
                deliveries.requeue(tx, no, now)
            return (nos[-1], len(again)) if nos else None

        while (part := await self._committed(endpoint_id, write)) is not None:
            last, total = part[0], total + part[1]
        return total

    def _changed(self, old: Endpoint, wished: EndpointChange) -> Endpoint:
        """`old` with what is wished. Raises Invalid."""
        new = msgspec.structs.replace(old)
        for name in ("url", "redirect_is_success", "enabled"):
            if (value := getattr(wished, name)) is not None:
                setattr(new, name, value)
        if wished.device_id is not msgspec.UNSET:
            new.device_id = wished.device_id
        if wished.events is not None:
            new.events = checked_events(wished.events)
        if wished.filters is not None:
            new.filters = checked_filters(wished.filters)
        if wished.headers is not None:
            new.headers_sealed = self.seal.seal_headers(
                checked_headers(wished.headers, self.seal.headers(old) if self.seal.opens(old) else {})
            )
        return new

    async def _committed(self, endpoint_id: str, write: Callable[[Transaction], T]) -> T:
        result = await self._db.transaction(write)
        for listener in self.on_changed:
            listener(endpoint_id)
        return result


def _missing(what: str) -> NotFound:
    return NotFound(f"There is no {what} with that id.")


def _found(row: T | None, what: str) -> T:
    if row is None:
        raise _missing(what)
    return row


def _check_device(tx: Transaction, endpoint: Endpoint) -> None:
    if endpoint.device_id is not None:
        _found(tx.one(devices.by_id(endpoint.account_id, endpoint.device_id)), "device")


def _check_awake(endpoint: Endpoint) -> None:
    """Raises Conflict: nothing is sent to an endpoint that is disabled or stopped."""
    if endpoint.enabled and endpoint.status is not EndpointStatus.STOPPED:
        return
    raise Conflict(
        "Nothing is sent to this webhook: it is disabled, or it stopped. Enable it first.",
        next_step=NextStep("PATCH", f"/api/webhooks/{endpoint.id}", 'Send {"enabled": true}.'),
    )
