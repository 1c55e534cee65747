"""The dashboard's table of contents: every page and form, and what stands before all of them."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from litestar import get
from litestar.di import Provide

from appliance.assets import Assets
from appliance.dashboard import (
    conversation,
    deliveries,
    devices,
    home,
    inspector,
    invitations,
    live,
    login,
    messages,
    people,
    search,
    settings,
    signature_check,
    static,
    system,
    webhooks,
)
from appliance.dashboard.door import Door
from appliance.dashboard.forms import LONGEST
from appliance.dashboard.pages import Page, Pages
from appliance.dashboard.visitor import DashboardSettings, Visitor
from appliance.gateway.gateway import Gateway
from appliance.gateway.installation import Installation
from appliance.model.errors import NotFound
from appliance.one_router import OneRouter

HANDLERS = [
    *login.HANDLERS,
    *home.HANDLERS,
    *devices.HANDLERS,
    *messages.HANDLERS,
    *search.HANDLERS,
    *conversation.HANDLERS,
    *webhooks.HANDLERS,
    *deliveries.HANDLERS,
    *inspector.HANDLERS,
    *signature_check.HANDLERS,
    *settings.HANDLERS,
    *people.HANDLERS,
    *system.HANDLERS,
    *invitations.HANDLERS,
    *live.HANDLERS,
    *static.HANDLERS,
]


def everywhere_else(handlers: Iterable[Any]) -> list[str]:
    """The addresses below /dashboard that no handler answers to a GET: each one's own, and what is deeper.

    Litestar looks no further up once it has followed an address some way, so that one address for all the
    rest would miss most of it.
    """
    answered = {path for handler in handlers if "GET" in handler.http_methods for path in handler.paths}
    known = {step for handler in handlers for path in handler.paths for step in _steps(path)}
    parents = {path.rpartition("/")[0] for path in known if path.endswith("}")}
    deeper = {f"{path}/{{rest:path}}" for path in known - parents if not path.endswith(":path}")}
    return sorted((known - answered) | deeper)


def _steps(path: str) -> list[str]:
    """The address and every beginning of it below /dashboard."""
    names = path.split("/")
    return ["/".join(names[:end]) for end in range(2, len(names) + 1)] if names[1] == "dashboard" else []


@get(everywhere_else(HANDLERS))
async def nothing_here(visitor: Visitor) -> Page:
    """A page that says that there is none."""
    raise NotFound("There is no such page.")


def router(gateway: Gateway, assets: Assets, settings: DashboardSettings) -> OneRouter:
    """Everything browsers see but the docs, ready to be mounted at the root."""
    pages = Pages(assets, partial(_needs_a_look, gateway.installation))
    door = Door(gateway, pages, settings)
    return OneRouter(
        "/",
        route_handlers=[*HANDLERS, nothing_here],
        before_request=door.check,
        exception_handlers=door.refusals(),
        request_max_body_size=LONGEST,
        dependencies={
            "gateway": Provide(lambda: gateway, sync_to_thread=False),
            "assets": Provide(lambda: assets, sync_to_thread=False),
            "pages": Provide(lambda: pages, sync_to_thread=False),
            "visitor": Provide(door.visitor),
            "member": Provide(door.member),
            "admin": Provide(door.admin),
            "form": Provide(door.form),
        },
    )


def _needs_a_look(installation: Installation) -> bool:
    certificate = installation.certificate()
    return not installation.state().is_well or not (certificate is None or certificate.is_well)
