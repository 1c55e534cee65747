"""What is put around every request: an id, the address links begin with, a bounded wait for the body; and
that it is counted."""

import random
import time
from typing import Any, cast

from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from appliance.api.body_watch import BodyWatch, BodyWatches
from appliance.api.request_figures import RequestFigures

_OF_BODY = {b"content-length", b"transfer-encoding"}
_LAST_ANSWER = (b"connection", b"close")
"""Said when a body was not read to its end: the server closes the connection then, and a proxy that is not
told sends its next request on it, and answers 502."""


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
        body = self._watches.of(receive)

        async def send_stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], stamp, *state["headers"]]
                if not body.is_read and await _stays_unread(scope, body):
                    headers.append(_LAST_ANSWER)
                if (rate_headers := state["rate_headers"]) is not None:
                    headers += rate_headers()
                message["headers"] = headers
                seconds = time.monotonic() - began
                self._figures.note(scope["path"], message["status"], seconds, state["refusal"])
            await send(message)

        await self._app(scope, cast("Receive", body), send_stamped)


async def _stays_unread(scope: Scope, body: BodyWatch) -> bool:
    """Whether the request has a body of which some is still to come, also after a short wait."""
    if not any(name in _OF_BODY and value != b"0" for name, value in scope["headers"]):
        return False
    # A sender that waits to be asked for its body is not asked for nothing.
    is_waiting = any(name == b"expect" for name, _ in scope["headers"])
    return is_waiting or not await body.read_rest()


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
