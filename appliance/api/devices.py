"""Devices: made, linked, watched, let go."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, delete, get, patch, post

from appliance.api import paging
from appliance.api.decoding import decode, decode_query
from appliance.api.device_limits import DeviceLimits, limits_of
from appliance.api.paging import Listing, Page
from appliance.api.system import System
from appliance.gateway import qr_image
from appliance.gateway.gateway import Gateway
from appliance.model.account import Account
from appliance.model.device import Device, DeviceStatus
from appliance.model.errors import Invalid
from appliance.store import devices

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
NO_PROXY = "none"


class CreateDevice(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    name: Name
    sandbox: bool = False
    proxy: str | None = None


class UpdateDevice(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """`proxy` "none" takes the device's own proxy away."""

    name: Name | None = None
    proxy: str | None = None


class PairPhone(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    phone: str


class QrQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    format: Literal["png", "svg", "json"] | None = None


class DeviceAnswer(msgspec.Struct, rename="camel"):
    """A device as callers see it. `queued` messages wait to be sent; `proxy` is without its password;
    times are ms."""

    id: str
    name: str
    status: DeviceStatus
    reason: str | None
    reason_code: int | None
    until: int | None
    linked: bool
    sandbox: bool
    phone: str | None
    jid: str | None
    lid: str | None
    push_name: str | None
    queued: int
    proxy: str | None
    created_at: int
    connected_at: int | None


class Deleted(msgspec.Struct, rename="camel"):
    """`unlinked` False: WhatsApp could not be told, so that the phone may still list the gateway."""

    unlinked: bool


class PairCodeAnswer(msgspec.Struct, rename="camel"):
    code: str
    expires_at: int


class QrAnswer(msgspec.Struct, rename="camel"):
    qr: str
    seq: int
    expires_at: int


def device_answer(gateway: Gateway, device: Device) -> DeviceAnswer:
    return DeviceAnswer(
        id=device.id,
        name=device.name,
        status=device.status,
        reason=device.reason,
        reason_code=device.reason_code,
        until=device.until,
        linked=device.linked,
        sandbox=device.sandbox,
        phone=device.phone,
        jid=device.jid,
        lid=device.lid,
        push_name=device.push_name,
        queued=gateway.outbox.waiting(device.id),
        proxy=gateway.devices.proxy_of(device),
        created_at=device.created_at,
        connected_at=device.connected_at,
    )


@post("/devices")
async def create_device(request: Request[Any, Any, Any], gateway: Gateway, account: Account) -> DeviceAnswer:
    body = await decode(request, CreateDevice)
    device = await gateway.devices.create(account, body.name, sandbox=body.sandbox, proxy=body.proxy)
    return device_answer(gateway, device)


@get("/devices")
async def list_devices(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account
) -> Listing[DeviceAnswer]:
    page = decode_query(request, Page)
    rows = await gateway.reader.all(devices.page(account.id, paging.before(page, "devices"), page.limit + 1))
    return paging.listing(
        page, "devices", rows, lambda row: row[0], lambda row: device_answer(gateway, row[1])
    )


@get("/devices/{device_id:str}")
async def get_device(gateway: Gateway, account: Account, device_id: str) -> DeviceAnswer:
    return device_answer(gateway, gateway.devices.get(account.id, device_id))


@patch("/devices/{device_id:str}")
async def update_device(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account, device_id: str
) -> DeviceAnswer:
    gateway.devices.get(account.id, device_id)
    body = await decode(request, UpdateDevice)
    proxy = "" if body.proxy == NO_PROXY else body.proxy
    device = await gateway.devices.update(account.id, device_id, name=body.name, proxy=proxy)
    return device_answer(gateway, device)


@delete("/devices/{device_id:str}", status_code=200)
async def delete_device(gateway: Gateway, account: Account, device_id: str) -> Deleted:
    return Deleted(await gateway.devices.delete(account.id, device_id))


@post("/devices/{device_id:str}/connect", status_code=202)
async def connect_device(gateway: Gateway, account: Account, device_id: str) -> DeviceAnswer:
    return device_answer(gateway, await gateway.devices.connect(account.id, device_id))


@post("/devices/{device_id:str}/disconnect", status_code=200)
async def disconnect_device(gateway: Gateway, account: Account, device_id: str) -> DeviceAnswer:
    return device_answer(gateway, await gateway.devices.disconnect(account.id, device_id))


@post("/devices/{device_id:str}/logout", status_code=200)
async def logout_device(gateway: Gateway, account: Account, device_id: str) -> DeviceAnswer:
    return device_answer(gateway, await gateway.devices.logout(account.id, device_id))


@post("/devices/{device_id:str}/pair-code", status_code=200)
async def pair_code(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account, device_id: str
) -> Response[PairCodeAnswer]:
    gateway.devices.get(account.id, device_id)
    body = await decode(request, PairPhone)
    phone = gateway.outbox.recipient(body.phone).phone
    if phone is None:
        raise Invalid("A phone number with its country code.", field="phone", suggestion="628111222333")
    code = await gateway.devices.pair_code(account.id, device_id, phone)
    return Response(
        PairCodeAnswer(code.code, code.expires_at), status_code=200, headers={"Cache-Control": "no-store"}
    )


@get("/devices/{device_id:str}/qr")
async def device_qr(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account, device_id: str
) -> Response[Any]:
    query = decode_query(request, QrQuery)
    shown = gateway.devices.qr(account.id, device_id)
    headers = {"Cache-Control": "no-store"}
    match query.format or _accepted_format(request):
        case "json":
            return Response(QrAnswer(shown.qr, shown.seq, shown.expires_at), headers=headers)
        case "svg":
            return Response(qr_image.svg(shown.qr).encode(), media_type="image/svg+xml", headers=headers)
        case _:
            return Response(qr_image.png(shown.qr), media_type="image/png", headers=headers)


@get("/devices/{device_id:str}/limits")
async def device_limits(gateway: Gateway, system: System, account: Account, device_id: str) -> DeviceLimits:
    device = gateway.devices.get(account.id, device_id)
    return await limits_of(gateway, device, system.versions.get("engine"))


def _accepted_format(request: Request[Any, Any, Any]) -> str:
    accept = request.headers.get("accept", "")
    offers = {"image/png": "png", "image/svg+xml": "svg", "application/json": "json"}
    named = [(accept.index(kind), name) for kind, name in offers.items() if kind in accept]
    return min(named)[1] if named else "png"
