"""What is put around every request: an id, the address links begin with, a bounded wait for the body; and
that it is counted."""

import random
import time
from typing import Any, cast

from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from appliance.api.body_watch import BodyWatches
from appliance.api.request_figures import RequestFigures


class Frame:
    """The outermost ASGI application. `public_url` is the address people reach us by; None: the request's
    own. `figures` is where requests are counted."""

    def __init__(
        self, app: ASGIApp, public_url: str | None = None, figures: RequestFigures | None = None
    ) -> None:
        self._app = app
        self._watches = BodyWatches()
        self._public_url = public_url.rstrip("/") if public_url else None
        self._figures = figures or RequestFigures()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        request_id = f"{random.getrandbits(64):016x}"
        state: dict[str, Any] = {
            "request_id": request_id,
            "base_url": self._public_url or own_url(scope),
            "headers": [],
            "rate_headers": None,
            "refusal": None,
        }
        scope["state"] = state
        stamp = (b"x-request-id", request_id.encode())

        async def send_stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], stamp, *state["headers"]]
                if (rate_headers := state["rate_headers"]) is not None:
                    headers += rate_headers()
                message["headers"] = headers
                seconds = time.monotonic() - began
                self._figures.note(scope["path"], message["status"], seconds, state["refusal"])
            await send(message)

        await self._app(scope, cast("Receive", self._watches.of(receive)), send_stamped)


def own_url(scope: Scope) -> str:
    """Scheme and host that the request was sent to."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    return f"{scope['scheme']}://{host.decode('latin-1') or 'localhost'}"


def header(request: Request[Any, Any, Any], name: str) -> str:
    """The request's first header of that name (in lower case), empty when there is none. Litestar's own
    `request.headers` costs more than the rest of the look-ups together: it builds a dictionary first."""
    wanted = name.encode()
    for key, value in request.scope["headers"]:
        if key == wanted:
            return value.decode("latin-1")
    return ""


def add_header(request: Request[Any, Any, Any], name: str, value: str) -> None:
    """Have the answer, also a refusal, carry a header."""
    request.scope["state"]["headers"].append((name.lower().encode(), value.encode()))
