"""Is it alive, is it ready, how is it doing, and where to read on."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Request, get

from appliance.gateway.figures import Counting
from appliance.gateway.gateway import Gateway
from appliance.gateway.installation import CertificateState, Source
from appliance.gateway.store_care import StoreState
from appliance.model.errors import NotReady

Ready = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class System:
    """What the composition root knows. `not_ready` says why not yet (None: ready); `versions` by
    component, with `gateway` among them; `store` how the store stands; `counting` is what counts;
    `metrics_public` shows `/metrics` to everybody."""

    not_ready: Ready
    versions: dict[str, str]
    store: Callable[[], StoreState]
    counting: Counting
    metrics_public: bool = False


class CertificateHealth(msgspec.Struct, rename="camel"):
    """What https is served with, and until when (ms since 1970); the system page says what is wrong."""

    source: Source
    expires_at: int
    is_well: bool


class Health(msgspec.Struct, rename="camel"):
    """`status` is `ok`, or `degraded` when somebody should look at `store`, or at `certificate`: what https
    is served with, None without TLS of our own."""

    status: str
    versions: dict[str, str]
    store: StoreState
    certificate: CertificateHealth | None


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
def healthz(gateway: Gateway, system: System) -> Health:
    store, certificate = system.store(), _certificate(gateway.installation.certificate())
    is_well = store.is_well and (certificate is None or certificate.is_well)
    return Health("ok" if is_well else "degraded", system.versions, store, certificate)


def _certificate(state: CertificateState | None) -> CertificateHealth | None:
    return None if state is None else CertificateHealth(state.source, state.expires_at, state.is_well)


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
