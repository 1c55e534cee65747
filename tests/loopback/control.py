"""A small HTTP door for other processes: `POST /scan ["1555…", "2@…"]` calls the method of that name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

_HOST = "127.0.0.1"


class Control:
    """Answers 200 with the method's result as JSON, 400 with the error, 404 for an unknown method."""

    def __init__(self, methods: Mapping[str, Callable[..., Any]]) -> None:
        self._methods = methods
        self.port = 0

    async def open(self) -> None:
        app = web.Application()
        app.add_routes([web.post("/{method}", self._call)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        assert self._runner.server is not None
        self._site = await asyncio.get_running_loop().create_server(self._runner.server, _HOST, 0)
        self.port = self._site.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._site.close()
        await self._runner.cleanup()

    async def _call(self, request: web.Request) -> web.Response:
        method = self._methods.get(request.match_info["method"])
        if method is None:
            return web.json_response({"error": "unknown method"}, status=404)
        raw = await request.text()
        try:
            result = await asyncio.to_thread(method, *(json.loads(raw) if raw else []))
        except Exception as error:  # noqa: BLE001 - told to the caller, whatever it is
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)
        return web.json_response({"result": result})
