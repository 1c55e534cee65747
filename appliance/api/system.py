"""Is it alive, is it ready, how is it doing, and where to read on."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Request, get

from appliance.gateway.figures import Counting
from appliance.gateway.store_care import StoreState
from appliance.model.errors import NotReady

Ready = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class System:
    """What the composition root knows. `not_ready` says why not yet (None: ready); `versions` by
    component, with `gateway` among them; `store` how the store stands; `counting` is what counts;
    `metrics_public` shows `/metrics` to everybody; `certificate_until_s` is when the TLS certificate ends
    (seconds since 1970)."""

    not_ready: Ready
    versions: dict[str, str]
    store: Callable[[], StoreState]
    counting: Counting
    metrics_public: bool = False
    certificate_until_s: Callable[[], int | None] = lambda: None


class Health(msgspec.Struct, rename="camel"):
    """`status` is `ok`, or `degraded` when somebody should look at `store`."""

    status: str
    versions: dict[str, str]
    store: StoreState


class ReadyAnswer(msgspec.Struct, rename="camel"):
    status: str


class Index(msgspec.Struct, rename="camel"):
    """Where to read on; addresses are absolute."""

    name: str
    version: str
    docs: str
    swagger: str
    openapi: str
    llms: str
    health: str
    auth: str


@get("/healthz", sync_to_thread=False)
def healthz(system: System) -> Health:
    store = system.store()
    return Health("ok" if store.is_well else "degraded", system.versions, store)


@get("/readyz")
async def readyz(system: System) -> ReadyAnswer:
    why = await system.not_ready()
    if why is not None:
        raise NotReady(why, retry_after_s=1)
    return ReadyAnswer("ready")


@get("/api", sync_to_thread=False)
def index(request: Request[Any, Any, Any], system: System) -> Index:
    base = request.scope["state"]["base_url"]
    return Index(
        name="WA Gateway",
        version=system.versions.get("gateway", ""),
        docs=f"{base}/docs",
        swagger=f"{base}/api/docs",
        openapi=f"{base}/api/openapi.json",
        llms=f"{base}/llms.txt",
        health=f"{base}/healthz",
        auth="X-API-Key: <your key>, from the dashboard's settings",
    )
