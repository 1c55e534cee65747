"""The dashboard's table of contents: every page and form, and what stands before all of them."""

from litestar import Router, get
from litestar.di import Provide

from appliance.assets import Assets
from appliance.dashboard import devices, live, login, messages, settings, static, webhooks
from appliance.dashboard.door import Door
from appliance.dashboard.forms import LONGEST
from appliance.dashboard.pages import Page, Pages, go_to
from appliance.dashboard.visitor import DashboardSettings, Member, Visitor
from appliance.gateway.gateway import Gateway
from appliance.model.errors import NotFound


@get("/dashboard")
async def begin(member: Member) -> Page:
    return go_to(member.visitor, login.HOME)


@get("/dashboard/{path:path}")
async def nothing_here(path: str, visitor: Visitor) -> Page:
    """Every other address below /dashboard: a page that says so."""
    raise NotFound("There is no such page.")


HANDLERS = [
    *login.HANDLERS,
    begin,
    *devices.HANDLERS,
    *messages.HANDLERS,
    *webhooks.HANDLERS,
    *settings.HANDLERS,
    *live.HANDLERS,
    *static.HANDLERS,
    nothing_here,
]


def router(gateway: Gateway, assets: Assets, settings: DashboardSettings) -> Router:
    """Everything browsers see but the docs, ready to be mounted at the root."""
    pages = Pages(assets)
    door = Door(gateway, pages, settings)
    return Router(
        "/",
        route_handlers=HANDLERS,
        before_request=door.check,
        exception_handlers=door.refusals(),
        request_max_body_size=LONGEST,
        dependencies={
            "gateway": Provide(lambda: gateway, sync_to_thread=False),
            "assets": Provide(lambda: assets, sync_to_thread=False),
            "pages": Provide(lambda: pages, sync_to_thread=False),
            "visitor": Provide(door.visitor),
            "member": Provide(door.member),
            "form": Provide(door.form),
        },
    )
