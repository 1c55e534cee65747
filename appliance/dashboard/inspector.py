"""The inspector: a webhook whose requests are shown here, for whoever has no server yet."""

from typing import Any

from litestar import get, post

from appliance.dashboard.pages import Page, Pages, Part, go_to
from appliance.dashboard.requests import Tried, tried
from appliance.dashboard.visitor import Member
from appliance.gateway.gateway import Gateway
from appliance.gateway.webhooks import EndpointChange
from appliance.model.errors import NotFound
from appliance.model.webhook import INSPECTOR_URL, Delivery, Endpoint
from appliance.store import deliveries, webhooks

PATH = "/dashboard/inspector"
SHOWN = 10
EVERY_S = 2


@get(PATH)
async def show_inspector(gateway: Gateway, pages: Pages, member: Member, done: str = "") -> Page:
    endpoint = await _endpoint(gateway, member)
    values: dict[str, Any] = {"here": "webhooks", "endpoint": endpoint, "done": done, "requests": ""}
    if endpoint is not None:
        part = await _part(gateway, endpoint, opens_first=True)
        values["requests"] = pages.part(member.visitor, "/dashboard/parts/inspector", part, every_s=EVERY_S)
    return pages.show(member.visitor, "inspector.html", **values)


@post(PATH)
async def open_inspector(gateway: Gateway, member: Member) -> Page:
    """Make the inspector, if there is none, and show something in it at once: a test event."""
    endpoint = await gateway.webhooks.inspector(member.account.id)
    if not endpoint.enabled:
        await gateway.webhooks.update(member.account.id, endpoint.id, EndpointChange(enabled=True))
    await gateway.webhooks.test(member.account.id, endpoint.id)
    return go_to(member.visitor, f"{PATH}?done=opened")


@post(PATH + "/test")
async def send_test(gateway: Gateway, member: Member) -> Page:
    endpoint = await gateway.webhooks.inspector(member.account.id)
    await gateway.webhooks.test(member.account.id, endpoint.id)
    return go_to(member.visitor, f"{PATH}?done=tested")


@get("/dashboard/parts/inspector")
async def refresh_inspector(gateway: Gateway, pages: Pages, member: Member, seen: str = "") -> Page:
    endpoint = await _endpoint(gateway, member)
    if endpoint is None:
        raise NotFound("There is no inspector.")
    return pages.refresh(member.visitor, seen, await _part(gateway, endpoint, opens_first=False))


async def _endpoint(gateway: Gateway, member: Member) -> Endpoint | None:
    return await gateway.reader.one(webhooks.by_url(member.account.id, INSPECTOR_URL))


async def _part(gateway: Gateway, endpoint: Endpoint, *, opens_first: bool) -> Part:
    """The newest requests. What a reader has opened stays open; only the very first opens by itself."""
    query = deliveries.page(endpoint.account_id, endpoint.id, deliveries.Filters(), None, SHOWN)
    came: list[tuple[Delivery, Tried]] = []
    for delivery in await gateway.reader.all(query):
        attempts = await tried(gateway, endpoint, delivery)
        if attempts:
            came.append((delivery, attempts[0]))
    opens = opens_first or len(came) == 1
    version = ",".join(f"{delivery.id}:{newest.attempt.n}" for delivery, newest in came)
    values = {"endpoint": endpoint, "came": came, "opens_first": opens}
    return Part("_inspector.html", values, version=f"inspector:{version}")


HANDLERS = [show_inspector, open_inspector, send_test, refresh_inspector]
