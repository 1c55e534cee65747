"""The API below /api: the same routes as at the root, without being there twice."""

from collections.abc import Awaitable, Iterable
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

PREFIX = "/api"


class BelowApi:
    """Hands requests to `app`, those below /api as if it were mounted there (`root_path` of ASGI).

    A second router would cost a MiB, and time at every start. Only addresses that begin like one of
    `handlers`' are meant: what answers at the root alone, or below /api alone, goes on doing so.
    """

    def __init__(self, app: ASGIApp, handlers: Iterable[Any]) -> None:
        self._app = app
        self._names = frozenset(path.split("/")[1] for handler in handlers for path in handler.paths)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        path = scope.get("path", "")
        if path.startswith(PREFIX + "/") and path.split("/", 3)[2] in self._names:
            scope["root_path"] = PREFIX
        return self._app(scope, receive, send)
