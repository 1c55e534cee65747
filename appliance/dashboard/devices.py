"""Devices: the list, one device's page with its QR code, and what can be done with it."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from litestar import get, post

from appliance.dashboard.device_parts import (
    BUDGET_EVERY_S,
    link_part,
    list_part,
    qr_part,
    sending_part,
    state_part,
    told_part,
)
from appliance.dashboard.forms import Form, Typed
from appliance.dashboard.pages import Page, Pages, Problem, go_to
from appliance.dashboard.plots import HEIGHT, STEP, traffic
from appliance.dashboard.visitor import Member
from appliance.gateway.gateway import Gateway
from appliance.model.device import Device
from appliance.model.errors import GatewayError, Invalid, InvalidRecipient, UnlinkUnconfirmed
from appliance.store import device_figures

PATH = "/dashboard/devices"
ONE = PATH + "/{device_id:str}"
NAME_LONGEST = 100
HEARD = ("text", "image", "voice", "document")
"""What pretend people can be made to send from the page."""


@get(PATH)
async def show_devices(gateway: Gateway, pages: Pages, member: Member, done: str = "") -> Page:
    return _list_page(gateway, pages, member, done=done)


@post(PATH)
async def create_device(gateway: Gateway, pages: Pages, member: Member, form: Form) -> Page:
    """A new device, which begins linking at once."""
    try:
        name = form.text("name")
        if not 1 <= len(name) <= NAME_LONGEST:
            raise Invalid(pages.text(member.visitor, "device.name_invalid"), field="name")
        sandbox = form.text("kind") == "sandbox"
        device = await gateway.devices.create(member.account, name, sandbox=sandbox)
    except GatewayError as error:
        problem = pages.problem(member.visitor, error)
        return _list_page(
            gateway, pages, member, status=422, typed=form.typed("name", "kind"), problem=problem
        )
    return await _act(gateway, pages, member, device.id, gateway.devices.connect)


@get(ONE)
async def show_device(gateway: Gateway, pages: Pages, member: Member, device_id: str, done: str = "") -> Page:
    return await _device_page(gateway, pages, member, device_id, done=done)


@post(ONE + "/connect")
async def connect(gateway: Gateway, pages: Pages, member: Member, device_id: str) -> Page:
    return await _act(gateway, pages, member, device_id, gateway.devices.connect)


@post(ONE + "/disconnect")
async def disconnect(gateway: Gateway, pages: Pages, member: Member, device_id: str) -> Page:
    return await _act(gateway, pages, member, device_id, gateway.devices.disconnect)


@post(ONE + "/unlink")
async def unlink(gateway: Gateway, pages: Pages, member: Member, device_id: str) -> Page:
    return await _act(gateway, pages, member, device_id, gateway.devices.logout)


@post(ONE + "/rename")
async def rename(gateway: Gateway, pages: Pages, member: Member, device_id: str, form: Form) -> Page:
    async def act(account_id: str, device_id: str) -> Device:
        if not 1 <= len(form.text("name")) <= NAME_LONGEST:
            raise Invalid(pages.text(member.visitor, "device.name_invalid"), field="name")
        return await gateway.devices.update(account_id, device_id, name=form.text("name"))

    return await _act(gateway, pages, member, device_id, act)


@post(ONE + "/proxy")
async def change_proxy(gateway: Gateway, pages: Pages, member: Member, device_id: str, form: Form) -> Page:
    """The way to WhatsApp; nothing typed means the gateway's own."""
    try:
        await gateway.devices.update(member.account.id, device_id, proxy=form.text("proxy"))
    except GatewayError as error:
        problem, typed = pages.problem(member.visitor, error), form.typed("proxy")
        return await _device_page(gateway, pages, member, device_id, status=422, typed=typed, problem=problem)
    return go_to(member.visitor, f"{PATH}/{device_id}?done=proxy")


@post(ONE + "/hear")
async def hear(gateway: Gateway, pages: Pages, member: Member, device_id: str, form: Form) -> Page:
    """Somebody writes to a sandbox device."""
    typed = form.typed("from", "text", "what")
    try:
        phone = _writer(gateway, pages, member, typed["from"])
        kind = typed["what"] if typed["what"] in HEARD else HEARD[0]
        received = await gateway.sandbox.hear(
            member.account.id, device_id, kind, phone, form.secret("text").strip() or None
        )
    except GatewayError as error:
        problem = pages.problem(member.visitor, error)
        return await _device_page(gateway, pages, member, device_id, status=422, typed=typed, problem=problem)
    return go_to(member.visitor, f"/dashboard/messages/{device_id}/{quote(received.remote_jid, safe='@')}")


@get(ONE + "/delete")
async def confirm_delete(gateway: Gateway, pages: Pages, member: Member, device_id: str) -> Page:
    """What goes with the device, before it goes."""
    device = gateway.devices.get(member.account.id, device_id)
    lost = await gateway.reader.one(device_figures.belongings(device.account_id, device.id))
    return pages.show(
        member.visitor,
        "device_delete.html",
        here="devices",
        device=device,
        lost=lost,
        counted=device_figures.COUNTED,
    )


@post(ONE + "/delete")
async def delete(gateway: Gateway, member: Member, device_id: str) -> Page:
    unlinked = await gateway.devices.delete(member.account.id, device_id)
    return go_to(member.visitor, f"{PATH}?done={'deleted' if unlinked else 'deleted_still_linked'}")


@post(ONE + "/code")
async def pair_by_code(gateway: Gateway, pages: Pages, member: Member, device_id: str, form: Form) -> Page:
    """A code to type on the phone; shown in the answer and nowhere else."""
    phone = "".join(c for c in form.text("phone") if c.isascii() and c.isdigit())
    typed = form.typed("phone")
    try:
        if not 5 <= len(phone) <= 15:
            raise Invalid(pages.text(member.visitor, "device.phone_invalid"), field="phone")
        code = await gateway.devices.pair_code(member.account.id, device_id, phone)
    except GatewayError as error:
        problem = pages.problem(member.visitor, error)
        return await _device_page(gateway, pages, member, device_id, status=422, typed=typed, problem=problem)
    return await _device_page(
        gateway, pages, member, device_id, typed=typed, code=code.code, code_until=code.expires_at
    )


@post(ONE + "/scan")
async def scan(gateway: Gateway, pages: Pages, member: Member, device_id: str) -> Page:
    """The pretend phone of a sandbox device scans the code."""

    async def act(account_id: str, device_id: str) -> Device:
        return await gateway.sandbox.scan(account_id, device_id)

    return await _act(gateway, pages, member, device_id, act)


@get("/dashboard/parts/devices")
async def refresh_list(gateway: Gateway, pages: Pages, member: Member, seen: str = "") -> Page:
    return pages.refresh(member.visitor, seen, list_part(gateway, member.account))


@get("/dashboard/parts/devices/{device_id:str}/state")
async def refresh_state(
    gateway: Gateway, pages: Pages, member: Member, device_id: str, seen: str = ""
) -> Page:
    device = gateway.devices.get(member.account.id, device_id)
    return pages.refresh(member.visitor, seen, state_part(gateway, device))


@get("/dashboard/parts/devices/{device_id:str}/sending")
async def refresh_sending(
    gateway: Gateway, pages: Pages, member: Member, device_id: str, seen: str = ""
) -> Page:
    device = gateway.devices.get(member.account.id, device_id)
    return pages.refresh(member.visitor, seen, await sending_part(gateway, device))


@get("/dashboard/parts/devices/{device_id:str}/told")
async def refresh_told(
    gateway: Gateway, pages: Pages, member: Member, device_id: str, seen: str = ""
) -> Page:
    device = gateway.devices.get(member.account.id, device_id)
    return pages.refresh(member.visitor, seen, await told_part(gateway, device))


@get("/dashboard/parts/devices/{device_id:str}/qr")
async def refresh_qr(gateway: Gateway, pages: Pages, member: Member, device_id: str, seen: str = "") -> Page:
    device = gateway.devices.get(member.account.id, device_id)
    return pages.refresh(member.visitor, seen, qr_part(gateway, device))


@get("/dashboard/parts/devices/{device_id:str}/link")
async def refresh_link(
    gateway: Gateway, pages: Pages, member: Member, device_id: str, seen: str = ""
) -> Page:
    """The whole linking card; it changes only when the device is linked or unlinked, so that a number being
    typed into it stays."""
    device = gateway.devices.get(member.account.id, device_id)
    return pages.refresh(member.visitor, seen, link_part(pages, member.visitor, gateway, device))


def _writer(gateway: Gateway, pages: Pages, member: Member, typed: str) -> str:
    """The number of whoever is to write. Raises Invalid."""
    with contextlib.suppress(InvalidRecipient):
        if phone := gateway.outbox.recipient(typed).phone:
            return phone
    raise Invalid(pages.text(member.visitor, "device.phone_invalid"), field="from")


async def _act(
    gateway: Gateway,
    pages: Pages,
    member: Member,
    device_id: str,
    act: Callable[[str, str], Awaitable[Any]],
) -> Page:
    """Do it, then show the device; a refusal is shown on the device's page."""
    try:
        await act(member.account.id, device_id)
    except UnlinkUnconfirmed as error:
        problem = pages.problem(member.visitor, error)
        return await _device_page(gateway, pages, member, device_id, status=502, problem=problem)
    except GatewayError as error:
        problem = pages.problem(member.visitor, error)
        return await _device_page(gateway, pages, member, device_id, status=409, problem=problem)
    return go_to(member.visitor, f"{PATH}/{device_id}")


def _list_page(gateway: Gateway, pages: Pages, member: Member, *, status: int = 200, **values: Any) -> Page:
    shown = {
        "here": "devices",
        "done": "",
        "typed": Typed(),
        "problem": None,
        "devices": pages.part(
            member.visitor,
            "/dashboard/parts/devices",
            list_part(gateway, member.account),
            every_s=BUDGET_EVERY_S,
        ),
    }
    return pages.show(member.visitor, "devices.html", status=status, **(shown | values))


async def _device_page(
    gateway: Gateway,
    pages: Pages,
    member: Member,
    device_id: str,
    *,
    status: int = 200,
    done: str = "",
    typed: Typed | None = None,
    problem: Problem | None = None,
    code: str = "",
    code_until: int = 0,
) -> Page:
    device = gateway.devices.get(member.account.id, device_id)
    visitor, base = member.visitor, f"/dashboard/parts/devices/{device.id}"
    linking = link_part(
        pages, visitor, gateway, device, typed=typed, problem=problem, code=code, code_until=code_until
    )
    sending = await sending_part(gateway, device)
    values = {
        "here": "devices",
        "device": device,
        "done": done,
        "problem": problem,
        "typed": typed or Typed(),
        "heard": HEARD,
        "proxy": gateway.devices.proxy_of(device),
        "state": pages.part(visitor, f"{base}/state", state_part(gateway, device)),
        "linking": pages.part(visitor, f"{base}/link", linking),
        "sending": pages.part(visitor, f"{base}/sending", sending, every_s=BUDGET_EVERY_S),
        "told": pages.part(visitor, f"{base}/told", await told_part(gateway, device)),
        "traffic": await traffic(gateway, device),
        "plot_height": HEIGHT,
        "plot_step": STEP,
    }
    return pages.show(visitor, "device.html", status=status, **values)


HANDLERS = [
    show_devices,
    create_device,
    show_device,
    connect,
    disconnect,
    unlink,
    rename,
    change_proxy,
    hear,
    confirm_delete,
    delete,
    pair_by_code,
    scan,
    refresh_list,
    refresh_state,
    refresh_sending,
    refresh_told,
    refresh_qr,
    refresh_link,
]
