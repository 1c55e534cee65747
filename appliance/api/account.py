"""The caller's own account: who am I, and a new key."""

import msgspec
from litestar import Response, get, post

from appliance.gateway.gateway import Gateway
from appliance.model.account import Account, Role


class RateLimit(msgspec.Struct, rename="camel"):
    """Messages a device may send in a minute; 0: as many as it likes."""

    per_minute: int


class Me(msgspec.Struct, rename="camel"):
    id: str
    email: str
    name: str
    role: Role
    created_at: int
    rate_limit: RateLimit


class NewKey(msgspec.Struct, rename="camel"):
    api_key: str


@get("/auth/me")
async def me(gateway: Gateway, account: Account) -> Me:
    return Me(
        id=account.id,
        email=account.email,
        name=account.name,
        role=account.role,
        created_at=account.created_at,
        rate_limit=RateLimit(gateway.limits.limit),
    )


@post("/auth/rotate-key", status_code=200)
async def rotate_key(gateway: Gateway, account: Account) -> Response[NewKey]:
    key = await gateway.accounts.rotate_key(account)
    return Response(NewKey(key), status_code=200, headers={"Cache-Control": "no-store"})
