"""Webhooks: where an account's events are delivered, how each delivery went, and delivering once more."""

from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, patch, post

from appliance.api import paging
from appliance.api.decoding import decode, decode_query
from appliance.api.paging import Listing, Page
from appliance.gateway import retry, signing
from appliance.gateway.delivery_alarm import gives_up_at, status_reason
from appliance.gateway.endpoint_rules import MASK
from appliance.gateway.gateway import Gateway
from appliance.gateway.vault import VaultError
from appliance.gateway.webhooks import EndpointChange
from appliance.model.account import Account
from appliance.model.errors import Invalid, NotFound
from appliance.model.event import EventType
from appliance.model.webhook import (
    Attempt,
    Delivery,
    DeliveryStatus,
    Endpoint,
    EndpointFilters,
    EndpointStatus,
)
from appliance.store import deliveries, webhooks

Moment = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Headers = dict[str, str]
EVERY_DEVICE = "all"
"""Where null would mean that nothing is said of the device."""


class CreateWebhook(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    url: str
    events: list[EventType] | None = None
    device_id: str | None = None
    filters: EndpointFilters | None = None
    secret: str | None = None
    headers: Headers | None = None
    redirect_is_success: bool | None = None
    enabled: bool | None = None


class UpdateWebhook(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What is left out stays; a `device_id` of EVERY_DEVICE takes the bound away. `headers` replaces all of
    them; a value sent back masked is kept."""

    url: str | None = None
    events: list[EventType] | None = None
    device_id: str | None = None
    filters: EndpointFilters | None = None
    headers: Headers | None = None
    redirect_is_success: bool | None = None
    enabled: bool | None = None


class RotateSecret(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    secret: str | None = None


class ReplayRange(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """`since` (inclusive) and `until` (exclusive): ms of the deliveries' `createdAt`."""

    since: Moment
    until: Moment | None = None
    status: DeliveryStatus | None = None


class DeliveryPage(Page, kw_only=True, rename="camel", forbid_unknown_fields=True):
    status: DeliveryStatus | None = None
    event: EventType | None = None
    since: Moment | None = None
    until: Moment | None = None


class WebhookAnswer(msgspec.Struct, rename="camel"):
    """`secret` is None only when it was sealed with another key file. `standard_secret` is what to paste into
    a Standard Webhooks library when `secret` is the caller's own; `status_reason` says why it stopped, or
    that it has been failing for days. `gives_up_at`: when the first deliveries to a failing one are given up.
    """

    id: str
    url: str
    secret: str | None
    events: list[EventType]
    device_id: str | None
    filters: EndpointFilters
    headers: Headers
    redirect_is_success: bool
    enabled: bool
    status: EndpointStatus
    status_reason: str | None
    failing_since: int | None
    gives_up_at: int | None
    created_at: int
    standard_secret: str | msgspec.UnsetType = msgspec.UNSET


class AttemptAnswer(msgspec.Struct, rename="camel"):
    """One POST: `status` is the receiver's, `error` why there is none, `answer` its first KiB as text."""

    attempt: int
    at: int
    duration_ms: int
    status: int | None
    error: str | None
    answer: str | None


class DeliveryAnswer(msgspec.Struct, rename="camel"):
    """One event for one webhook. `last_status` and `last_error` are the newest attempt's; `next_attempt_at`
    is None when there will be none, and `gives_up_at` (when the last one is due) before the first one failed.
    """

    id: str
    webhook_id: str
    event_id: int
    event: EventType
    device_id: str
    status: DeliveryStatus
    attempt_count: int
    last_status: int | None
    last_error: str | None
    next_attempt_at: int | None
    gives_up_at: int | None
    created_at: int
    finished_at: int | None
    attempts: list[AttemptAnswer] | msgspec.UnsetType = msgspec.UNSET


class Replayed(msgspec.Struct, rename="camel"):
    """How many deliveries were queued again."""

    replayed: int


def webhook_answer(gateway: Gateway, endpoint: Endpoint) -> WebhookAnswer:
    seal = gateway.webhooks.seal
    try:
        secret, names = seal.secret(endpoint), list(seal.headers(endpoint))
    except VaultError:
        secret, names = None, []
    standard = signing.standard_secret(secret) if secret else None
    return WebhookAnswer(
        id=endpoint.id,
        url=endpoint.url,
        secret=secret,
        events=endpoint.events,
        device_id=endpoint.device_id,
        filters=endpoint.filters,
        headers=dict.fromkeys(names, MASK),
        redirect_is_success=endpoint.redirect_is_success,
        enabled=endpoint.enabled,
        status=endpoint.status,
        status_reason=status_reason(endpoint, gateway.clock.now_ms()),
        failing_since=endpoint.failing_since,
        gives_up_at=gives_up_at(endpoint),
        created_at=endpoint.created_at,
        standard_secret=standard or msgspec.UNSET,
    )


def delivery_answer(delivery: Delivery) -> DeliveryAnswer:
    pending, since = delivery.status is DeliveryStatus.PENDING, delivery.failing_since
    return DeliveryAnswer(
        id=delivery.id,
        webhook_id=delivery.endpoint_id,
        event_id=delivery.event_no,
        event=delivery.event_type,
        device_id=delivery.device_id,
        status=delivery.status,
        attempt_count=delivery.attempts,
        last_status=delivery.last_status,
        last_error=delivery.last_error,
        next_attempt_at=delivery.due_at if pending else None,
        gives_up_at=retry.gives_up_at(since) if pending and since is not None else None,
        created_at=delivery.created_at,
        finished_at=delivery.finished_at,
    )


@post("/webhooks")
async def create_webhook(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account
) -> WebhookAnswer:
    body = await decode(request, CreateWebhook)
    if not body.url:
        raise Invalid("Where shall the events go?", field="url", suggestion="https://example.org/hook")
    wished = msgspec.convert(body, EndpointChange, from_attributes=True)
    endpoint = await gateway.webhooks.create(account.id, body.url, wished, body.secret)
    return webhook_answer(gateway, endpoint)


@get("/webhooks")
async def list_webhooks(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account
) -> Listing[WebhookAnswer]:
    page = decode_query(request, Page)
    rows = await gateway.reader.all(
        webhooks.page(account.id, paging.before(page, "webhooks"), page.limit + 1)
    )
    return paging.listing(
        page, "webhooks", rows, lambda row: row[0], lambda row: webhook_answer(gateway, row[1])
    )


@get("/webhooks/{webhook_id:str}")
async def get_webhook(gateway: Gateway, account: Account, webhook_id: str) -> WebhookAnswer:
    return webhook_answer(gateway, await gateway.webhooks.get(account.id, webhook_id))


@patch("/webhooks/{webhook_id:str}")
async def update_webhook(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account, webhook_id: str
) -> WebhookAnswer:
    await gateway.webhooks.get(account.id, webhook_id)
    body = await decode(request, UpdateWebhook)
    wished = EndpointChange(**{**msgspec.structs.asdict(body), "device_id": msgspec.UNSET})
    if body.device_id is not None:
        wished.device_id = None if body.device_id == EVERY_DEVICE else body.device_id
    return webhook_answer(gateway, await gateway.webhooks.update(account.id, webhook_id, wished))


@delete("/webhooks/{webhook_id:str}")
async def delete_webhook(gateway: Gateway, account: Account, webhook_id: str) -> None:
    await gateway.webhooks.delete(account.id, webhook_id)


@post("/webhooks/{webhook_id:str}/rotate-secret", status_code=200)
async def rotate_secret(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account, webhook_id: str
) -> WebhookAnswer:
    await gateway.webhooks.get(account.id, webhook_id)
    body = await decode(request, RotateSecret)
    endpoint = await gateway.webhooks.rotate_secret(account.id, webhook_id, body.secret)
    return webhook_answer(gateway, endpoint)


@post("/webhooks/{webhook_id:str}/test", status_code=202)
async def test_webhook(gateway: Gateway, account: Account, webhook_id: str) -> DeliveryAnswer:
    return delivery_answer(await gateway.webhooks.test(account.id, webhook_id))


@get("/webhooks/{webhook_id:str}/deliveries")
async def list_deliveries(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account, webhook_id: str
) -> Listing[DeliveryAnswer]:
    await gateway.webhooks.get(account.id, webhook_id)
    page = decode_query(request, DeliveryPage)
    of = f"deliveries {webhook_id}"
    filters = deliveries.Filters(page.status, page.event, page.since, page.until)
    rows = await gateway.reader.all(
        deliveries.page(account.id, webhook_id, filters, paging.before(page, of), page.limit + 1)
    )
    return paging.listing(page, of, rows, lambda row: row.no, delivery_answer)


@get("/webhooks/{webhook_id:str}/deliveries/{delivery_id:str}")
async def get_delivery(
    gateway: Gateway, account: Account, webhook_id: str, delivery_id: str
) -> DeliveryAnswer:
    async with gateway.reader.snapshot() as snapshot:
        delivery = await snapshot.one(deliveries.by_id(account.id, webhook_id, delivery_id))
        if delivery is None:
            raise NotFound("There is no delivery with that id.")
        attempts = await snapshot.all(deliveries.attempts_of(account.id, delivery_id))
    answer = delivery_answer(delivery)
    answer.attempts = [_attempt(each) for each in attempts]
    return answer


@post("/webhooks/{webhook_id:str}/deliveries/{delivery_id:str}/replay", status_code=202)
async def replay_delivery(
    gateway: Gateway, account: Account, webhook_id: str, delivery_id: str
) -> DeliveryAnswer:
    return delivery_answer(await gateway.webhooks.replay(account.id, webhook_id, delivery_id))


@post("/webhooks/{webhook_id:str}/replay", status_code=202)
async def replay_range(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account, webhook_id: str
) -> Replayed:
    await gateway.webhooks.get(account.id, webhook_id)
    body = await decode(request, ReplayRange)
    return Replayed(
        await gateway.webhooks.replay_range(account.id, webhook_id, body.since, body.until, body.status)
    )


def _attempt(attempt: Attempt) -> AttemptAnswer:
    return AttemptAnswer(
        attempt=attempt.n,
        at=attempt.at,
        duration_ms=attempt.duration_ms,
        status=attempt.status,
        error=attempt.error,
        answer=None if attempt.answer is None else attempt.answer.decode("utf-8", "replace"),
    )
