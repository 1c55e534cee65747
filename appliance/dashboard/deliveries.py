"""The delivery log of a webhook: its list with filters, each delivery's attempts, and sending again."""

from typing import Any
from urllib.parse import urlencode

from litestar import Request, get, post

from appliance.dashboard.forms import Form
from appliance.dashboard.pages import Page, Pages, Part, Problem, go_to
from appliance.dashboard.requests import tried
from appliance.dashboard.visitor import Member
from appliance.gateway.gateway import Gateway
from appliance.model.errors import GatewayError, NotFound
from appliance.model.event import EventType
from appliance.model.webhook import Delivery, DeliveryStatus, Endpoint
from appliance.store import deliveries, endpoint_health

PATH = "/dashboard/webhooks/{endpoint_id:str}/deliveries"
ONE = PATH + "/{delivery_id:str}"
PARTS = "/dashboard/parts/webhooks/{endpoint_id:str}/deliveries"
NEWEST, DIGITS = 30, 18
EVERY_S = 4
SPANS_MS = {"1h": 3_600_000, "1d": 86_400_000, "7d": 7 * 86_400_000}


async def log_part(gateway: Gateway, endpoint: Endpoint, asked: dict[str, str]) -> Part:
    """The part of the list that `asked` (status, event, before) narrows it to."""
    filters = _filters(asked)
    before = int(asked["before"]) if "before" in asked else None
    query = deliveries.page(endpoint.account_id, endpoint.id, filters, before, NEWEST + 1)
    rows = await gateway.reader.all(query)
    older = urlencode({**asked, "before": rows[NEWEST - 1].no}) if len(rows) > NEWEST else ""
    waiting = await gateway.reader.one(endpoint_health.backlog(endpoint.account_id, endpoint.id))
    values = {"endpoint": endpoint, "deliveries": rows[:NEWEST], "older": older, "waiting": waiting or 0}
    return Part("_deliveries.html", values)


def asked_of(request: Request[Any, Any, Any]) -> dict[str, str]:
    """What the address narrows the list to; words that mean nothing are left out."""
    known: dict[str, set[str]] = {"status": set(DeliveryStatus), "event": set(EventType)}
    asked = {name: request.query_params.get(name, "") for name in known}
    found = {name: value for name, value in asked.items() if value in known[name]}
    before = request.query_params.get("before", "")
    is_number = before.isascii() and before.isdigit() and len(before) <= DIGITS
    return found | ({"before": before} if is_number else {})


def log_url(endpoint: Endpoint, asked: dict[str, str]) -> str:
    """Where the part finds its newest self."""
    url = f"/dashboard/parts/webhooks/{endpoint.id}/deliveries"
    return f"{url}?{urlencode(asked)}" if asked else url


@get(PARTS)
async def refresh_log(
    request: Request[Any, Any, Any],
    gateway: Gateway,
    pages: Pages,
    member: Member,
    endpoint_id: str,
    seen: str = "",
) -> Page:
    endpoint = await gateway.webhooks.get(member.account.id, endpoint_id)
    return pages.refresh(member.visitor, seen, await log_part(gateway, endpoint, asked_of(request)))


@get(ONE)
async def show_delivery(
    gateway: Gateway, pages: Pages, member: Member, endpoint_id: str, delivery_id: str, done: str = ""
) -> Page:
    return await _page(gateway, pages, member, endpoint_id, delivery_id, done=done)


@get(PARTS + "/{delivery_id:str}")
async def refresh_delivery(
    gateway: Gateway, pages: Pages, member: Member, endpoint_id: str, delivery_id: str, seen: str = ""
) -> Page:
    endpoint, delivery = await _found(gateway, member, endpoint_id, delivery_id)
    return pages.refresh(member.visitor, seen, await _delivery_part(gateway, endpoint, delivery))


@post(ONE + "/replay")
async def replay(gateway: Gateway, pages: Pages, member: Member, endpoint_id: str, delivery_id: str) -> Page:
    try:
        await gateway.webhooks.replay(member.account.id, endpoint_id, delivery_id)
    except NotFound:
        raise
    except GatewayError as error:
        problem = pages.problem(member.visitor, error)
        return await _page(gateway, pages, member, endpoint_id, delivery_id, status=409, problem=problem)
    return go_to(member.visitor, f"/dashboard/webhooks/{endpoint_id}/deliveries/{delivery_id}?done=replayed")


async def replay_many(gateway: Gateway, member: Member, endpoint_id: str, form: Form) -> int:
    """Deliver again what the form chooses: a `span` of time and perhaps a `status`; returns how many."""
    now = gateway.clock.now_ms()
    since = now - SPANS_MS.get(form.text("span"), now)
    chosen = form.text("status")
    status = DeliveryStatus(chosen) if chosen in set(DeliveryStatus) else None
    return await gateway.webhooks.replay_range(member.account.id, endpoint_id, since, None, status)


def _filters(asked: dict[str, str]) -> deliveries.Filters:
    return deliveries.Filters(
        status=DeliveryStatus(asked["status"]) if "status" in asked else None,
        event=EventType(asked["event"]) if "event" in asked else None,
    )


async def _found(
    gateway: Gateway, member: Member, endpoint_id: str, delivery_id: str
) -> tuple[Endpoint, Delivery]:
    endpoint = await gateway.webhooks.get(member.account.id, endpoint_id)
    query = deliveries.by_id(member.account.id, endpoint_id, delivery_id)
    delivery = await gateway.reader.one(query)
    if delivery is None:
        raise NotFound("There is no delivery with that id.")
    return endpoint, delivery


async def _delivery_part(gateway: Gateway, endpoint: Endpoint, delivery: Delivery) -> Part:
    attempts = await tried(gateway, endpoint, delivery)
    return Part("_delivery.html", {"endpoint": endpoint, "delivery": delivery, "tried": attempts})


async def _page(
    gateway: Gateway,
    pages: Pages,
    member: Member,
    endpoint_id: str,
    delivery_id: str,
    *,
    status: int = 200,
    done: str = "",
    problem: Problem | None = None,
) -> Page:
    endpoint, delivery = await _found(gateway, member, endpoint_id, delivery_id)
    url = f"/dashboard/parts/webhooks/{endpoint.id}/deliveries/{delivery.id}"
    part = await _delivery_part(gateway, endpoint, delivery)
    values = {
        "here": "webhooks",
        "endpoint": endpoint,
        "delivery": delivery,
        "done": done,
        "problem": problem,
        "attempts": pages.part(member.visitor, url, part, every_s=EVERY_S),
    }
    return pages.show(member.visitor, "webhook_delivery.html", status=status, **values)


HANDLERS = [refresh_log, show_delivery, refresh_delivery, replay]
