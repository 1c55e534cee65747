"""The live parts of the device pages: what each shows, and when it counts as changed."""

from appliance.dashboard.forms import Typed
from appliance.dashboard.pages import Pages, Part, Problem
from appliance.dashboard.visitor import Visitor
from appliance.gateway import qr_image
from appliance.gateway.gateway import Gateway
from appliance.model.account import Account
from appliance.model.device import Device


def list_part(gateway: Gateway, account: Account) -> Part:
    """The account's devices, newest first."""
    mine = list(reversed(gateway.devices.of_account(account.id)))
    return Part("_devices.html", {"devices": mine})


def state_part(gateway: Gateway, device: Device) -> Part:
    """The device's state in plain words and what can be done about it."""
    return Part("_device_state.html", {"device": device}, is_announced=True)


def qr_part(gateway: Gateway, device: Device) -> Part:
    """The QR code that can be scanned now."""
    shown = gateway.devices.current_qr(device.id)
    image = qr_image.data_uri(shown.qr) if shown is not None else None
    version = f"{device.status}:{shown.seq if shown else 0}:{shown.expires_at if shown else 0}"
    return Part("_device_qr.html", {"device": device, "image": image}, version)


def link_part(
    pages: Pages,
    visitor: Visitor,
    gateway: Gateway,
    device: Device,
    *,
    typed: Typed | None = None,
    problem: Problem | None = None,
    code: str = "",
) -> Part:
    """How to link the device; empty once it is linked. `code` is shown until then."""
    qr = pages.part(visitor, f"/dashboard/parts/devices/{device.id}/qr", qr_part(gateway, device))
    values = {"device": device, "qr": qr, "typed": typed or Typed(), "problem": problem, "code": code}
    return Part("_device_link.html", values, f"linked:{device.linked}")
