"""The system page: what runs here, how much room it has, its settings, backups and the end of its log."""

from collections import Counter
from typing import Any

from litestar import get, post

from appliance.dashboard.pages import Page, Pages, Part, go_to
from appliance.dashboard.visitor import Member
from appliance.gateway.gateway import Gateway
from appliance.store import figures

PATH = "/dashboard/system"
EVERY_S = 5


@get(PATH)
async def show_system(gateway: Gateway, pages: Pages, admin: Member, done: str = "") -> Page:
    visitor = admin.visitor
    parts = {
        "facts": (await _facts(gateway), "/dashboard/parts/system"),
        "settings": (_settings(gateway), "/dashboard/parts/system/settings"),
        "backups": (await _backups(gateway), "/dashboard/parts/system/backups"),
        "log": (_log(gateway), "/dashboard/parts/system/log"),
    }
    values: dict[str, Any] = {
        name: pages.part(visitor, url, part, every_s=EVERY_S) for name, (part, url) in parts.items()
    }
    values["may_reload"] = gateway.installation.reload is not None
    return pages.show(visitor, "system.html", here="settings", tab="system", done=done, **values)


@post(PATH + "/backup")
async def back_up(gateway: Gateway, admin: Member) -> Page:
    """Begin a backup; the page shows when it is done."""
    gateway.installation.back_up()
    return go_to(admin.visitor, f"{PATH}?done=backup#backups")


@post(PATH + "/reload")
async def reload_settings(gateway: Gateway, admin: Member) -> Page:
    """Read the configuration again; the page shows what came of it."""
    if gateway.installation.reload is not None:
        await gateway.installation.reload()
    return go_to(admin.visitor, f"{PATH}#settings")


@get("/dashboard/parts/system")
async def refresh_facts(gateway: Gateway, pages: Pages, admin: Member, seen: str = "") -> Page:
    return pages.refresh(admin.visitor, seen, await _facts(gateway))


@get("/dashboard/parts/system/settings")
async def refresh_settings(gateway: Gateway, pages: Pages, admin: Member, seen: str = "") -> Page:
    return pages.refresh(admin.visitor, seen, _settings(gateway))


@get("/dashboard/parts/system/backups")
async def refresh_backups(gateway: Gateway, pages: Pages, admin: Member, seen: str = "") -> Page:
    return pages.refresh(admin.visitor, seen, await _backups(gateway))


@get("/dashboard/parts/system/log")
async def refresh_log(gateway: Gateway, pages: Pages, admin: Member, seen: str = "") -> Page:
    return pages.refresh(admin.visitor, seen, _log(gateway))


async def _facts(gateway: Gateway) -> Part:
    installation, devices = gateway.installation, gateway.devices.everywhere()
    values = {
        "versions": installation.versions,
        "started_at": installation.started_at,
        "folder": installation.folder,
        "state": installation.state(),
        "certificate": installation.certificate(),
        "room": await installation.room(),
        "media": await gateway.reader.one(figures.media_bytes()) or 0,
        "devices": sorted(Counter(str(device.status) for device in devices).items()),
        "messages_waiting": sum(gateway.outbox.waiting(device.id) for device in devices),
        "deliveries_waiting": await gateway.reader.one(figures.deliveries_waiting()) or 0,
    }
    return Part("_system_facts.html", values)


async def _backups(gateway: Gateway) -> Part:
    installation = gateway.installation
    values = {
        "backups": await installation.stored_backups(),
        "is_running": installation.is_backing_up,
        "failed": installation.state().backup_failed,
    }
    return Part("_system_backups.html", values)


def _settings(gateway: Gateway) -> Part:
    return Part("_system_settings.html", {"reloaded": gateway.installation.reloaded()})


def _log(gateway: Gateway) -> Part:
    return Part("_system_log.html", {"lines": gateway.installation.log_lines()})


HANDLERS = [
    show_system,
    back_up,
    reload_settings,
    refresh_facts,
    refresh_settings,
    refresh_backups,
    refresh_log,
]
