"""Who is calling: the API key in `X-API-Key` or `Authorization: Bearer`; never a cookie, never the URL."""

import re
from typing import Any

from litestar import Request

from appliance.api.frame import header
from appliance.gateway.gateway import Gateway
from appliance.model.account import Account
from appliance.model.errors import MissingApiKey, NextStep, Unauthorized

_KEY = re.compile(r"[0-9a-f]{64}\Z")
_GET_ONE = NextStep("GET", "/dashboard/settings", "Sign in there and copy the API key.")


def key_of(request: Request[Any, Any, Any]) -> str | None:
    """The key as it was sent, None when there is none."""
    if key := header(request, "x-api-key"):
        return key.strip()
    scheme, _, token = header(request, "authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


async def account(request: Request[Any, Any, Any], gateway: Gateway) -> Account:
    """The caller's account. Raises MissingApiKey, Unauthorized."""
    key = key_of(request)
    if key is None:
        raise MissingApiKey("Send your key in the X-API-Key header.", next_step=_GET_ONE)
    found = await gateway.accounts.by_key(key) if _KEY.match(key) else None
    if found is None:
        raise Unauthorized(_wrong(key), next_step=_GET_ONE)
    return found


def _wrong(key: str) -> str:
    if _KEY.match(key):
        return "No account has this key; it may have been rotated."
    return f"A key is 64 lower-case hex characters; this one has {len(key)} characters that are not all such."
