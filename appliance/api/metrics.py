"""`/metrics`: the figures for Prometheus, for this machine alone unless the configuration says otherwise."""

import ipaddress
import os
from typing import Any

from litestar import Request, Response, get

from appliance.api.exposition import CONTENT_TYPE, text
from appliance.api.metric_table import FAMILIES, Sources
from appliance.api.request_figures import RequestFigures
from appliance.api.streams import Streams
from appliance.api.system import System
from appliance.gateway.figures import look
from appliance.gateway.gateway import Gateway
from appliance.model.errors import NotFound

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


@get("/metrics")
async def metrics(
    request: Request[Any, Any, Any],
    gateway: Gateway,
    streams: Streams,
    system: System,
    requests: RequestFigures,
) -> Response[str]:
    if not system.metrics_public and not _is_local(request):
        raise NotFound("Nothing answers at /metrics.")
    sources = Sources(
        now=await look(gateway, system.counting.helpers(), os.getpid()),
        counting=system.counting,
        gateway=gateway,
        requests=requests,
        streams=streams,
        store=system.store(),
        versions=system.versions,
    )
    return Response(text(FAMILIES, sources), media_type=CONTENT_TYPE)


def _is_local(request: Request[Any, Any, Any]) -> bool:
    """Whether somebody on this machine asks, and not a proxy on this machine for somebody else."""
    client = request.scope.get("client")
    if client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
