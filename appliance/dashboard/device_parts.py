"""The live parts of the device pages: what each shows, and when it counts as changed."""

from typing import Any

from appliance.dashboard.forms import Typed
from appliance.dashboard.pages import Pages, Part, Problem
from appliance.dashboard.plots import HEIGHT, STEP, send_rate
from appliance.dashboard.told import told
from appliance.dashboard.visitor import Visitor
from appliance.gateway import qr_image
from appliance.gateway.gateway import Gateway
from appliance.gateway.restrictions import restriction_of
from appliance.model.account import Account
from appliance.model.device import Device
from appliance.store import deliveries, device_figures

BUDGET_EVERY_S = 10
"""A send budget comes back by time alone, which wakes nobody."""
TOLD = 15
_LONG_CODE_S, _SHORT_CODE_S = 60, 20


def list_part(gateway: Gateway, account: Account) -> Part:
    """The account's devices, newest first."""
    mine = list(reversed(gateway.devices.of_account(account.id)))
    listed = [(device, gateway.limits.state(device.id), gateway.outbox.waiting(device.id)) for device in mine]
    return Part("_devices.html", {"devices": listed})


def state_part(gateway: Gateway, device: Device) -> Part:
    """The device's state in plain words and what can be done about it."""
    return Part("_device_state.html", {"device": device}, is_announced=True)


async def sending_part(gateway: Gateway, device: Device) -> Part:
    """What may keep the device from sending: its budget, what waits, what WhatsApp holds against it."""
    values: dict[str, Any] = {
        "device": device,
        "rate": gateway.limits.state(device.id),
        "waiting": gateway.outbox.waiting(device.id),
        "webhooks": await gateway.reader.one(deliveries.waiting_for(device.account_id, device.id)) or 0,
        "restriction": await restriction_of(gateway.reader, gateway.clock, device),
        "minutes": await send_rate(gateway, device),
        "plot_height": HEIGHT,
        "plot_step": STEP,
    }
    return Part("_device_sending.html", values)


async def told_part(gateway: Gateway, device: Device) -> Part:
    """The newest events."""
    found = await gateway.reader.all(device_figures.newest_events(device.account_id, device.id, TOLD))
    return Part("_device_told.html", {"told": [told(event) for event in found]}, frame="_feed.html")


def qr_part(gateway: Gateway, device: Device) -> Part:
    """The QR code that can be scanned now, with the time it has left."""
    shown = gateway.devices.current_qr(device.id)
    version = f"{device.status}:{shown.seq if shown else 0}:{shown.expires_at if shown else 0}"
    values: dict[str, Any] = {"device": device, "image": None, "left_s": 0.0, "full_s": _SHORT_CODE_S}
    if shown is not None:
        left_s = max(0.0, (shown.expires_at - gateway.clock.now_ms()) / 1000)
        values["image"] = qr_image.data_uri(shown.qr)
        values["left_s"] = left_s
        values["full_s"] = _LONG_CODE_S if left_s > _SHORT_CODE_S else _SHORT_CODE_S
    return Part("_device_qr.html", values, version)


def link_part(
    pages: Pages,
    visitor: Visitor,
    gateway: Gateway,
    device: Device,
    *,
    typed: Typed | None = None,
    problem: Problem | None = None,
    code: str = "",
    code_until: int = 0,
) -> Part:
    """How to link the device; empty once it is linked. `code`, which holds until `code_until` (ms), is shown
    until then."""
    qr = pages.part(visitor, f"/dashboard/parts/devices/{device.id}/qr", qr_part(gateway, device))
    values = {
        "device": device,
        "qr": qr,
        "typed": typed or Typed(),
        "problem": problem,
        "code": code,
        "code_until": code_until,
    }
    return Part("_device_link.html", values, f"linked:{device.linked}")
