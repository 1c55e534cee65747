"""Webhooks: where events are delivered, how well each place takes them, and what can be done with it."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, get, post

from appliance.dashboard import webhook_forms
from appliance.dashboard.deliveries import EVERY_S, asked_of, log_part, log_url, replay_many
from appliance.dashboard.delivery_plots import delivery_plots
from appliance.dashboard.endpoint_health import health
from appliance.dashboard.forms import Form
from appliance.dashboard.pages import Page, Pages, Problem, go_to
from appliance.dashboard.visitor import Member
from appliance.dashboard.webhook_forms import WebhookTyped
from appliance.gateway.gateway import Gateway
from appliance.gateway.vault import VaultError
from appliance.gateway.webhooks import EndpointChange
from appliance.model.errors import GatewayError, Invalid, NotFound
from appliance.model.event import EventType
from appliance.model.webhook import Endpoint
from appliance.store import webhooks

PATH = "/dashboard/webhooks"
ONE = PATH + "/{endpoint_id:str}"
MOST = 200

AnyRequest = Request[Any, Any, Any]


@get(PATH)
async def show_webhooks(gateway: Gateway, pages: Pages, member: Member, done: str = "") -> Page:
    return await _list_page(gateway, pages, member, done=done)


@post(PATH)
async def add_webhook(gateway: Gateway, pages: Pages, member: Member, form: Form) -> Page:
    typed = webhook_forms.read(form)
    try:
        change = _wished(pages, member, typed)
        endpoint = await gateway.webhooks.create(member.account.id, typed.url, change)
    except GatewayError as error:
        problem = pages.problem(member.visitor, error)
        return await _list_page(gateway, pages, member, status=422, typed=typed, problem=problem)
    return go_to(member.visitor, f"{PATH}/{endpoint.id}?done=added")


@get(ONE)
async def show_webhook(
    request: AnyRequest,
    gateway: Gateway,
    pages: Pages,
    member: Member,
    endpoint_id: str,
    done: str = "",
    replayed: int = 0,
) -> Page:
    asked = asked_of(request)
    return await _page(gateway, pages, member, endpoint_id, done=done, replayed=replayed, asked=asked)


@get(ONE + "/edit")
async def show_edit(gateway: Gateway, pages: Pages, member: Member, endpoint_id: str) -> Page:
    endpoint = await gateway.webhooks.get(member.account.id, endpoint_id)
    seal = gateway.webhooks.seal
    names = list(seal.headers(endpoint)) if seal.opens(endpoint) else []
    return _edit_page(gateway, pages, member, endpoint, webhook_forms.typed_of(endpoint, names))


@post(ONE + "/edit")
async def edit(gateway: Gateway, pages: Pages, member: Member, endpoint_id: str, form: Form) -> Page:
    endpoint = await gateway.webhooks.get(member.account.id, endpoint_id)
    typed = webhook_forms.read(form)
    try:
        change = _wished(pages, member, typed)
        change.url = typed.url if typed.url != endpoint.url and not endpoint.is_inspector else None
        await gateway.webhooks.update(member.account.id, endpoint_id, change)
    except GatewayError as error:
        problem = pages.problem(member.visitor, error)
        return _edit_page(gateway, pages, member, endpoint, typed, status=422, problem=problem)
    return go_to(member.visitor, f"{PATH}/{endpoint_id}?done=edited")


@post(ONE + "/test")
async def send_test(gateway: Gateway, pages: Pages, member: Member, endpoint_id: str) -> Page:
    return await _act(gateway, pages, member, endpoint_id, "tested", gateway.webhooks.test)


@post(ONE + "/enable")
async def enable(gateway: Gateway, pages: Pages, member: Member, endpoint_id: str) -> Page:
    async def act(account_id: str, endpoint_id: str) -> Endpoint:
        return await gateway.webhooks.update(account_id, endpoint_id, EndpointChange(enabled=True))

    return await _act(gateway, pages, member, endpoint_id, "enabled", act)


@post(ONE + "/disable")
async def disable(gateway: Gateway, pages: Pages, member: Member, endpoint_id: str) -> Page:
    async def act(account_id: str, endpoint_id: str) -> Endpoint:
        return await gateway.webhooks.update(account_id, endpoint_id, EndpointChange(enabled=False))

    return await _act(gateway, pages, member, endpoint_id, "disabled", act)


@post(ONE + "/rotate")
async def rotate(gateway: Gateway, pages: Pages, member: Member, endpoint_id: str) -> Page:
    return await _act(gateway, pages, member, endpoint_id, "rotated", gateway.webhooks.rotate_secret)


@post(ONE + "/reveal")
async def reveal(gateway: Gateway, pages: Pages, member: Member, endpoint_id: str, form: Form) -> Page:
    """The password, typed again, opens an hour in which secrets are shown."""
    await gateway.webhooks.get(member.account.id, endpoint_id)
    accounts, visitor = gateway.accounts, member.visitor
    try:
        await accounts.check_password(member.account, form.secret("password"), visitor.address)
    except GatewayError as error:
        problem = pages.problem(visitor, error)
        return await _page(gateway, pages, member, endpoint_id, status=422, secret_problem=problem)
    await accounts.sessions.confirm(member.session)
    return go_to(visitor, f"{PATH}/{endpoint_id}#secret-card")


@post(ONE + "/replay")
async def replay(gateway: Gateway, pages: Pages, member: Member, endpoint_id: str, form: Form) -> Page:
    try:
        replayed = await replay_many(gateway, member, endpoint_id, form)
    except NotFound:
        raise
    except GatewayError as error:
        problem = pages.problem(member.visitor, error)
        return await _page(gateway, pages, member, endpoint_id, status=409, problem=problem)
    return go_to(member.visitor, f"{PATH}/{endpoint_id}?done=replayed&replayed={replayed}#deliveries")


@post(ONE + "/delete")
async def delete(gateway: Gateway, member: Member, endpoint_id: str) -> Page:
    await gateway.webhooks.delete(member.account.id, endpoint_id)
    return go_to(member.visitor, f"{PATH}?done=deleted")


def _wished(pages: Pages, member: Member, typed: WebhookTyped) -> EndpointChange:
    change = webhook_forms.wished(typed)
    if not change.events:
        raise Invalid(pages.text(member.visitor, "webhook.events_missing"), field="events")
    return change


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
    except NotFound:
        raise
    except GatewayError as error:
        problem = pages.problem(member.visitor, error)
        return await _page(gateway, pages, member, endpoint_id, status=409, problem=problem)
    return go_to(member.visitor, f"{PATH}/{endpoint_id}?done={done}")


async def _page(
    gateway: Gateway, pages: Pages, member: Member, endpoint_id: str, *, status: int = 200, **values: Any
) -> Page:
    visitor = member.visitor
    endpoint = await gateway.webhooks.get(member.account.id, endpoint_id)
    asked = values.pop("asked", {})
    newest = await log_part(gateway, endpoint, asked)
    shown: dict[str, Any] = {
        "here": "webhooks",
        "endpoint": endpoint,
        "health": await health(gateway, endpoint),
        "plots": await delivery_plots(gateway, pages, visitor, endpoint),
        "device": _device_name(gateway, member, endpoint),
        "secret": None,
        "secret_problem": None,
        "done": "",
        "replayed": 0,
        "problem": None,
        "asked": asked,
        "all_events": [str(name) for name in EventType],
        # An attempt's outcome wakes nobody: the list looks for itself.
        "deliveries": pages.part(visitor, log_url(endpoint, asked), newest, every_s=EVERY_S),
    }
    if gateway.accounts.sessions.is_confirmed(member.session):
        try:
            shown["secret"] = gateway.webhooks.seal.secret(endpoint)
        except VaultError:
            shown["secret_problem"] = Problem(pages.text(visitor, "webhook.unreadable"))
    return pages.show(visitor, "webhook.html", status=status, **(shown | values))


def _device_name(gateway: Gateway, member: Member, endpoint: Endpoint) -> str:
    """The name of the only device it listens to; empty: all of them."""
    mine = gateway.devices.of_account(member.account.id)
    return next((device.name for device in mine if device.id == endpoint.device_id), "")


def _edit_page(
    gateway: Gateway,
    pages: Pages,
    member: Member,
    endpoint: Endpoint,
    typed: WebhookTyped,
    *,
    status: int = 200,
    problem: Problem | None = None,
) -> Page:
    values = {
        "here": "webhooks",
        "endpoint": endpoint,
        "typed": typed,
        "problem": problem,
        "devices": gateway.devices.of_account(member.account.id),
        **_choices(),
    }
    return pages.show(member.visitor, "webhook_edit.html", status=status, **values)


async def _list_page(
    gateway: Gateway, pages: Pages, member: Member, *, status: int = 200, **values: Any
) -> Page:
    rows = await gateway.reader.all(webhooks.page(member.account.id, None, MOST))
    shown = {
        "here": "webhooks",
        "done": "",
        "typed": WebhookTyped(),
        "problem": None,
        "endpoints": [(endpoint, await health(gateway, endpoint)) for _, endpoint in rows],
        "devices": gateway.devices.of_account(member.account.id),
        **_choices(),
    }
    return pages.show(member.visitor, "webhooks.html", status=status, **(shown | values))


def _choices() -> dict[str, Any]:
    return {"all_events": [str(name) for name in EventType], "all_chats": webhook_forms.CHAT_KINDS}


HANDLERS = [
    show_webhooks,
    add_webhook,
    show_webhook,
    show_edit,
    edit,
    send_test,
    enable,
    disable,
    rotate,
    reveal,
    replay,
    delete,
]
