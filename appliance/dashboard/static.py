"""Style sheet, scripts and icons, all from here."""

import asyncio

from litestar import Response, get

from appliance.assets import STATIC_PATH, Assets
from appliance.dashboard.pages import HEADERS
from appliance.model.errors import NotFound

_FOR_EVER = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
_FOR_NOW = {**HEADERS, "Cache-Control": "no-cache"}


@get(STATIC_PATH + "{name:path}")
async def show_file(assets: Assets, name: str, v: str = "") -> Response[bytes]:
    """A static file; kept by browsers for ever when asked for under its own digest."""
    file = assets.static(name.lstrip("/"))
    if file is None:
        raise NotFound("There is no such file.")
    content = await asyncio.to_thread(file.path.read_bytes)
    headers = _FOR_EVER if v == file.digest else _FOR_NOW
    return Response(content, status_code=200, media_type=file.media_type, headers=headers)


HANDLERS = [show_file]
