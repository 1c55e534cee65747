"""Events as they happen: a stream (SSE), or a list that waits (long poll)."""

import re
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.response import Stream as StreamingResponse

from appliance.api import auth
from appliance.api.decoding import decode, decode_query
from appliance.api.event_stream import EventStream
from appliance.api.streams import Streams
from appliance.gateway.events import Page
from appliance.gateway.gateway import Gateway
from appliance.model.account import Account
from appliance.model.errors import EventsGone, Invalid, NextStep, Unauthorized
from appliance.model.event import EventType
from appliance.store import events

_NUMBER = re.compile(r"[0-9]{1,18}\Z")
_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventsQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """`types` is a comma-separated list; `after`, `limit` and `wait` (seconds) are for the list,
    `last_event_id` and `ticket` for the stream."""

    after: Annotated[int, msgspec.Meta(ge=0)] | None = None
    types: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    wait: Annotated[float, msgspec.Meta(ge=0, le=25)] = 0
    last_event_id: str | None = None
    ticket: str | None = None


class TicketRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    device_id: str | None = None


class TicketMinted(msgspec.Struct, rename="camel"):
    """`expires_at` ms: until then the ticket must open its stream for the first time."""

    ticket: str
    expires_at: int


@get("/devices/{device_id:str}/events")
async def device_events(
    request: Request[Any, Any, Any], gateway: Gateway, streams: Streams, device_id: str
) -> Response[Any]:
    return await _events(request, gateway, streams, device_id)


@get("/events")
async def account_events(
    request: Request[Any, Any, Any], gateway: Gateway, streams: Streams
) -> Response[Any]:
    return await _events(request, gateway, streams, None)


@post("/events/ticket")
async def mint_ticket(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account
) -> Response[TicketMinted]:
    body = await decode(request, TicketRequest)
    if body.device_id is not None:
        gateway.devices.get(account.id, body.device_id)
    ticket, expires_at = await gateway.tickets.mint(account, body.device_id)
    return Response(TicketMinted(ticket, expires_at), headers={"Cache-Control": "no-store"})


async def _events(
    request: Request[Any, Any, Any], gateway: Gateway, streams: Streams, device_id: str | None
) -> Response[Any]:
    query = _query(request)
    account = await _subscriber(request, gateway, query, device_id)
    if device_id is not None:
        gateway.devices.get(account.id, device_id)
    if _wants_list(request):
        return await _listed(gateway, streams, account, device_id, query)
    stream = EventStream(gateway, account, device_id, _types(query), _last_event_id(request, query))
    return StreamingResponse(stream.chunks(streams), media_type="text/event-stream", headers=_STREAM_HEADERS)


def _query(request: Request[Any, Any, Any]) -> EventsQuery:
    """The query; a wrong one is told only to somebody who may ask at all."""
    if "ticket" not in request.query_params and auth.key_of(request) is None:
        return EventsQuery()
    return decode_query(request, EventsQuery)


async def _subscriber(
    request: Request[Any, Any, Any], gateway: Gateway, query: EventsQuery, device_id: str | None
) -> Account:
    if query.ticket is None or auth.key_of(request) is not None:
        return await auth.account(request, gateway)
    account = await gateway.tickets.open(query.ticket, device_id)
    if account is None or _wants_list(request):
        why = "Ask for a ticket and open its stream within 60 seconds."
        raise Unauthorized(
            "The ticket does not open this.", next_step=NextStep("POST", "/api/events/ticket", why)
        )
    return account


def _wants_list(request: Request[Any, Any, Any]) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/event-stream" not in accept


def _types(query: EventsQuery) -> tuple[EventType, ...]:
    names = [name.strip() for name in (query.types or "").split(",")]
    try:
        return tuple(EventType(name) for name in names if name)
    except ValueError:
        raise Invalid(
            "There is no such event type.", field="types", suggestion=", ".join(EventType)
        ) from None


def _last_event_id(request: Request[Any, Any, Any], query: EventsQuery) -> int | None:
    given = request.headers.get("last-event-id") or query.last_event_id
    if not given:
        return None
    if not _NUMBER.match(given):
        raise Invalid("An event id is a number.", field="lastEventId")
    return int(given)


async def _listed(
    gateway: Gateway, streams: Streams, account: Account, device_id: str | None, query: EventsQuery
) -> Response[bytes]:
    """The events after a point, as soon as there are any; without a point, from the oldest that is kept."""
    after = query.after
    if after is None:
        after = await gateway.events.floor(account.id)
    elif after > (await gateway.reader.one(events.highest()) or 0):
        raise await _gone(gateway, account, await gateway.events.floor(account.id))
    found = await _awaited(gateway, streams, account, device_id, query, after)
    if found.floor > after and query.after is not None:
        raise await _gone(gateway, account, found.floor)
    items = b",".join(event.body for event in found.events)
    body = b'{"items":[%s],"nextCursor":"%d"}' % (items, found.upto)
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


async def _gone(gateway: Gateway, account: Account, floor: int) -> EventsGone:
    oldest = await gateway.events.page(account.id, floor, 1)
    text = "Events after that point are no longer kept; begin again without after."
    return EventsGone(text, extra={"oldest": oldest[0].no if oldest else None})


async def _awaited(
    gateway: Gateway,
    streams: Streams,
    account: Account,
    device_id: str | None,
    query: EventsQuery,
    after: int,
) -> Page:
    """What follows `after`; with nothing there, what comes within the wait."""
    until, types = gateway.clock.monotonic() + query.wait, _types(query)
    with streams.opened(account.id) as stream:
        now = await gateway.accounts.by_id(account.id) if query.wait else account
        if now is None or now.key_hash != account.key_hash:
            stream.end()  # the key was rotated while the list was being asked for
        while True:
            waiter = gateway.events.waiter(account.id)
            found = await gateway.events.read(account.id, after, query.limit, types, device_id)
            left = until - gateway.clock.monotonic()
            if found.events or found.floor > after or left <= 0 or not stream.is_open():
                return found
            after = found.upto
            await gateway.events.wait(waiter, left)
