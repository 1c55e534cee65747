"""Is it alive, is it ready, how is it doing, and where to read on."""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Request, Response, get

from appliance.api.streams import Streams
from appliance.gateway.gateway import Gateway
from appliance.gateway.store_care import StoreState
from appliance.model.device import DeviceStatus
from appliance.model.errors import NotFound, NotReady
from appliance.store import figures

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")

Ready = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class System:
    """What the composition root knows. `not_ready` says why not yet (None: ready); `versions` by
    component, with `gateway` among them; `store` how the store stands; `metrics_public` shows `/metrics` to
    everybody."""

    not_ready: Ready
    versions: dict[str, str]
    store: Callable[[], StoreState]
    metrics_public: bool = False
    counters: Callable[[], dict[str, int]] = dict


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


@get("/metrics")
async def metrics(
    request: Request[Any, Any, Any], gateway: Gateway, streams: Streams, system: System
) -> Response[str]:
    if not system.metrics_public and not _is_local(request):
        raise NotFound("Nothing answers at /metrics.")
    states = [device.status for device in gateway.devices.everywhere()]
    waiting = sum(gateway.outbox.waiting(device.id) for device in gateway.devices.everywhere())
    lines = [_line("wa_gateway_info", 1, version=system.versions.get("gateway", ""))]
    lines += [_line("wa_gateway_devices", states.count(s), status=str(s)) for s in DeviceStatus]
    lines.append(_line("wa_gateway_messages_waiting", waiting))
    lines.append(
        _line("wa_gateway_deliveries_waiting", await gateway.reader.one(figures.deliveries_waiting()) or 0)
    )
    lines.append(_line("wa_gateway_event_streams", len(streams)))
    store = system.store()
    lines.append(_line("wa_gateway_store_well", int(store.is_well)))
    lines.append(_line("wa_gateway_disk_low", int(store.disk_low)))
    lines.append(_line("wa_gateway_backup_at_seconds", store.backup.at // 1000 if store.backup else 0))
    lines += [_line(f"wa_gateway_{name}", value) for name, value in sorted(system.counters().items())]
    return Response("".join(lines), media_type="text/plain; version=0.0.4")


def _line(name: str, value: int, **labels: str) -> str:
    inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value}\n" if inside else f"{name} {value}\n"


def _is_local(request: Request[Any, Any, Any]) -> bool:
    """Whether somebody on this machine asks, and not a proxy on this machine for somebody else."""
    client = request.scope.get("client")
    if client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
