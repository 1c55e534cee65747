"""The first page: the first steps with their real state, and afterwards how everything is doing."""

from typing import Any

import msgspec
from litestar import get

from appliance.dashboard.pages import Page, Pages, Part
from appliance.dashboard.visitor import Member
from appliance.gateway.gateway import Gateway
from appliance.gateway.vault import VaultError
from appliance.model.device import Device, DeviceStatus
from appliance.store import first_steps

PATH = "/dashboard"
SANDBOX_NUMBER, EXAMPLE_NUMBER = "999000000010", "628111222333"


class Steps(msgspec.Struct, frozen=True):
    """Which of the first steps are done."""

    linked: bool
    sent: bool
    listening: bool

    @property
    def all_done(self) -> bool:
        return self.linked and self.sent and self.listening

    @property
    def next_one(self) -> str:
        """The first step that is not done; empty: all are."""
        done = {"link": self.linked, "send": self.sent, "listen": self.listening}
        return next((name for name, is_done in done.items() if not is_done), "")


@get(PATH)
async def show_home(gateway: Gateway, pages: Pages, member: Member) -> Page:
    visitor = member.visitor
    values: dict[str, Any] = {
        "here": "home",
        "account": member.account,
        "api_key": _key(gateway, member),
        "curl": _curl(gateway, member),
        "steps": pages.part(visitor, "/dashboard/parts/home", await _part(gateway, member)),
    }
    return pages.show(visitor, "home.html", **values)


@get("/dashboard/parts/home")
async def refresh_home(gateway: Gateway, pages: Pages, member: Member, seen: str = "") -> Page:
    return pages.refresh(member.visitor, seen, await _part(gateway, member))


async def _part(gateway: Gateway, member: Member) -> Part:
    account_id, reader = member.account.id, gateway.reader
    mine = gateway.devices.of_account(account_id)
    endpoints = await reader.one(first_steps.endpoints(account_id)) or 0
    sent = await reader.one(first_steps.has_sent(account_id)) or 0
    steps = Steps(
        linked=any(device.linked for device in mine),
        sent=sent == 1,
        listening=endpoints > 0,
    )
    values = {
        "steps": steps,
        "devices": mine,
        "connected": sum(device.status is DeviceStatus.CONNECTED for device in mine),
        "waiting": sum(gateway.outbox.waiting(device.id) for device in mine),
        "endpoints": endpoints,
        "troubled": await reader.one(first_steps.troubled_endpoints(account_id)) or 0,
    }
    return Part("_home.html", values)


def _key(gateway: Gateway, member: Member) -> str | None:
    """The API key, within the hour after the password was typed."""
    if not gateway.accounts.sessions.is_confirmed(member.session):
        return None
    try:
        return gateway.accounts.reveal_key(member.account)
    except VaultError:
        return None


def _curl(gateway: Gateway, member: Member) -> str:
    """A command that sends a message from the account's first device that can."""
    mine = sorted(gateway.devices.of_account(member.account.id), key=lambda device: not device.linked)
    device = mine[0] if mine else None
    body = {"to": _example_number(device), "text": "Halo!"}
    if device is not None and len(mine) > 1:
        body = {"deviceId": device.id, **body}
    key = _key(gateway, member) or "YOUR_API_KEY"
    return (
        f"curl {member.visitor.base_url}/api/messages/send-text \\\n"
        f"  -H 'X-API-Key: {key}' \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d '{msgspec.json.encode(body).decode()}'"
    )


def _example_number(device: Device | None) -> str:
    """Somebody to write to: the pretend one of a sandbox, else the device's own number."""
    if device is None or device.sandbox:
        return SANDBOX_NUMBER
    return device.phone or EXAMPLE_NUMBER


HANDLERS = [show_home, refresh_home]
