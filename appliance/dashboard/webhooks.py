"""Webhooks: where events are delivered, how it goes, and a test event."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import get, post

from appliance.dashboard.forms import Form, Typed
from appliance.dashboard.pages import Page, Pages, Part, Problem, go_to
from appliance.dashboard.visitor import Member
from appliance.gateway.gateway import Gateway
from appliance.gateway.vault import VaultError
from appliance.gateway.webhooks import EndpointChange
from appliance.model.errors import GatewayError, Invalid
from appliance.model.event import EventType
from appliance.model.webhook import Endpoint
from appliance.store import deliveries, webhooks

PATH = "/dashboard/webhooks"
ONE = PATH + "/{endpoint_id:str}"
MOST, NEWEST = 200, 30
DELIVERIES_EVERY_S = 4


@get(PATH)
async def show_webhooks(gateway: Gateway, pages: Pages, member: Member, done: str = "") -> Page:
    return await _list_page(gateway, pages, member, done=done)


@post(PATH)
async def add_webhook(gateway: Gateway, pages: Pages, member: Member, form: Form) -> Page:
    try:
        events = [EventType(name) for name in form.all("events") if name in set(EventType)]
        if not events:
            raise Invalid(pages.text(member.visitor, "webhook.events_missing"), field="events")
        wished = EndpointChange(events=events, device_id=form.text("device") or None)
        endpoint = await gateway.webhooks.create(member.account.id, form.text("url"), wished)
    except GatewayError as error:
        problem = pages.problem(member.visitor, error)
        values = {"typed": form.typed("url", "device"), "events": form.all("events"), "problem": problem}
        return await _list_page(gateway, pages, member, status=422, **values)
    return go_to(member.visitor, f"{PATH}/{endpoint.id}?done=added")


@get(ONE)
async def show_webhook(
    gateway: Gateway, pages: Pages, member: Member, endpoint_id: str, done: str = ""
) -> Page:
    return await _page(gateway, pages, member, endpoint_id, done=done)


@post(ONE + "/test")
async def send_test(gateway: Gateway, pages: Pages, member: Member, endpoint_id: str) -> Page:
    return await _act(gateway, pages, member, endpoint_id, "tested", gateway.webhooks.test)


@post(ONE + "/enable")
async def enable(gateway: Gateway, pages: Pages, member: Member, endpoint_id: str) -> Page:
    async def act(account_id: str, endpoint_id: str) -> Endpoint:
        return await gateway.webhooks.update(account_id, endpoint_id, EndpointChange(enabled=True))

    return await _act(gateway, pages, member, endpoint_id, "enabled", act)


@post(ONE + "/delete")
async def delete(gateway: Gateway, member: Member, endpoint_id: str) -> Page:
    await gateway.webhooks.delete(member.account.id, endpoint_id)
    return go_to(member.visitor, f"{PATH}?done=deleted")


@get("/dashboard/parts/webhooks/{endpoint_id:str}/deliveries")
async def refresh_deliveries(
    gateway: Gateway, pages: Pages, member: Member, endpoint_id: str, seen: str = ""
) -> Page:
    await gateway.webhooks.get(member.account.id, endpoint_id)
    return pages.refresh(member.visitor, seen, await _deliveries(gateway, member, endpoint_id))


async def _act(
    gateway: Gateway,
    pages: Pages,
    member: Member,
    endpoint_id: str,
    done: str,
    act: Callable[[str, str], Awaitable[Any]],
) -> Page:
    """Do it, then show the endpoint; a refusal is shown on the endpoint's page."""
    try:
        await act(member.account.id, endpoint_id)
    except GatewayError as error:
        problem = pages.problem(member.visitor, error)
        return await _page(gateway, pages, member, endpoint_id, status=409, problem=problem)
    return go_to(member.visitor, f"{PATH}/{endpoint_id}?done={done}")


async def _deliveries(gateway: Gateway, member: Member, endpoint_id: str) -> Part:
    query = deliveries.page(member.account.id, endpoint_id, deliveries.Filters(), None, NEWEST)
    return Part("_deliveries.html", {"deliveries": await gateway.reader.all(query)})


async def _page(
    gateway: Gateway,
    pages: Pages,
    member: Member,
    endpoint_id: str,
    *,
    status: int = 200,
    done: str = "",
    problem: Problem | None = None,
) -> Page:
    visitor = member.visitor
    endpoint = await gateway.webhooks.get(member.account.id, endpoint_id)
    url = f"/dashboard/parts/webhooks/{endpoint.id}/deliveries"
    newest = await _deliveries(gateway, member, endpoint_id)
    values: dict[str, Any] = {
        "here": "webhooks",
        "endpoint": endpoint,
        "secret": None,
        "done": done,
        "problem": problem,
        # An attempt's outcome wakes nobody: the list looks for itself.
        "deliveries": pages.part(visitor, url, newest, every_s=DELIVERIES_EVERY_S),
    }
    if gateway.accounts.sessions.is_confirmed(member.session):
        try:
            values["secret"] = gateway.webhooks.seal.secret(endpoint)
        except VaultError:
            values["problem"] = Problem(pages.text(visitor, "key.unreadable"))
    return pages.show(visitor, "webhook.html", status=status, **values)


async def _list_page(
    gateway: Gateway, pages: Pages, member: Member, *, status: int = 200, **values: Any
) -> Page:
    rows = await gateway.reader.all(webhooks.page(member.account.id, None, MOST))
    shown = {
        "here": "webhooks",
        "done": "",
        "typed": Typed(),
        "events": [str(name) for name in EventType],
        "all_events": [str(name) for name in EventType],
        "problem": None,
        "endpoints": [endpoint for _, endpoint in rows],
        "devices": gateway.devices.of_account(member.account.id),
    }
    return pages.show(member.visitor, "webhooks.html", status=status, **(shown | values))


HANDLERS = [show_webhooks, add_webhook, show_webhook, send_test, enable, delete, refresh_deliveries]
