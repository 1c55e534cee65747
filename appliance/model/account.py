"""Accounts: who may use this gateway."""

from typing import Literal

import msgspec

Role = Literal["admin", "user"]


class Account(msgspec.Struct, kw_only=True):
    """A row of `accounts`. `key_hash` is SHA-256 of the API key, `key_sealed` its sealed copy for
    Settings; times are ms. Since `disabled_at` neither key nor password opens anything."""

    id: str
    email: str
    name: str
    role: Role
    password_hash: str
    key_hash: bytes
    key_sealed: bytes
    key_rotated_at: int
    created_at: int
    disabled_at: int | None = None


class Invite(msgspec.Struct, kw_only=True):
    """A row of `invites`: a link that opens once, known by the SHA-256 of its token; times are ms.

    Without `account_id` it makes an account; with one it gives that account a new password.
    """

    id: str
    token_hash: bytes
    account_id: str | None = None
    made_by: str
    created_at: int
    expires_at: int


class BrowserSession(msgspec.Struct, kw_only=True):
    """A row of `browser_sessions`: one signed-in browser, known by the SHA-256 of its cookie; times are ms.

    `confirmed_at` is when the password was last typed, `csrf` the token that every form of it must carry.
    """

    token_hash: bytes
    account_id: str
    csrf: str
    agent: str
    address: str
    created_at: int
    confirmed_at: int
    seen_at: int
    expires_at: int
