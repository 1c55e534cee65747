"""Who is looking at the dashboard: cookies, language, and whether the browser runs on this machine."""

import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec
from litestar import Request
from litestar.datastructures import Cookie

from appliance.assets import LANGUAGES, THEME_COOKIE, preferred_language
from appliance.gateway.accounts import Accounts
from appliance.gateway.browser_sessions import LIFE_MS
from appliance.model.account import Account, BrowserSession

SESSION_COOKIE, FORM_COOKIE, LANGUAGE_COOKIE = "wa", "wa-form", "lang"
THEMES = ("system", "light", "dark")
_HOST_PREFIX = "__Host-"
_YEAR_S = 365 * 24 * 3600
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


class DashboardSettings(msgspec.Struct, frozen=True):
    """`public_url`: where browsers reach this gateway, when a proxy stands before it."""

    public_url: str | None = None


class LoginNeeded(Exception):
    """The page is for those who are signed in."""


@dataclass(slots=True)
class Visitor:
    """One request's visitor. `csrf` is what its forms must carry; `cookies` are set with the answer;
    `base_url` is what links to this gateway begin with."""

    address: str
    agent: str
    language: str
    is_secure: bool
    is_on_this_machine: bool
    path: str
    base_url: str
    theme: str = "system"
    session_token: str | None = None
    session: BrowserSession | None = None
    account: Account | None = None
    csrf: str = ""
    cookies: list[Cookie] = field(default_factory=list)

    @property
    def is_exposed(self) -> bool:
        """Whether the cookie crosses a network in the clear: the page says so."""
        return not self.is_secure and not self.is_on_this_machine

    def may_post(self, token: str) -> bool:
        """Whether a form with that token was one of ours."""
        return bool(self.csrf) and hmac.compare_digest(self.csrf.encode(), token.encode())

    def cookie(self, name: str, value: str, max_age_s: int | None) -> Cookie:
        """A cookie for this visitor: bound to host and TLS where there is TLS."""
        return Cookie(
            key=_cookie_name(name, self.is_secure),
            value=value,
            path="/",
            httponly=True,
            samesite="lax",
            secure=self.is_secure,
            max_age=max_age_s,
        )

    def sign_in(self, token: str) -> None:
        self.cookies.append(self.cookie(SESSION_COOKIE, token, LIFE_MS // 1000))
        self.cookies.append(self.cookie(FORM_COOKIE, "", 0))

    def sign_out(self) -> None:
        self.cookies.append(self.cookie(SESSION_COOKIE, "", 0))


@dataclass(slots=True)
class Member:
    """A visitor who is signed in."""

    visitor: Visitor
    session: BrowserSession
    account: Account


async def recognise(
    request: Request[Any, Any, Any], accounts: Accounts, settings: DashboardSettings
) -> Visitor:
    """The visitor behind a request."""
    visitor = stranger(request, settings)
    visitor.session_token = request.cookies.get(_cookie_name(SESSION_COOKIE, visitor.is_secure))
    if visitor.session_token:
        visitor.session = await accounts.sessions.find(visitor.session_token)
    if visitor.session is not None:
        account = await accounts.by_id(visitor.session.account_id)
        visitor.account = account if account is not None and account.disabled_at is None else None
        visitor.csrf = visitor.session.csrf
    else:
        _give_form_token(request, visitor)
    return visitor


def stranger(request: Request[Any, Any, Any], settings: DashboardSettings) -> Visitor:
    """The visitor as far as the request itself tells, without asking the store."""
    visitor = Visitor(
        address=request.client.host if request.client else "",
        agent=request.headers.get("user-agent", ""),
        language="",
        is_secure=is_secure(request, settings),
        is_on_this_machine=_is_on_this_machine(request),
        path=request.url.path,
        base_url=request.scope["state"]["base_url"],
    )
    _choose_language(request, visitor)
    _choose_theme(request, visitor)
    return visitor


def origin_is_ours(request: Request[Any, Any, Any], settings: DashboardSettings) -> bool:
    """Whether the form stood on a page of this gateway: scheme and Host, or the public URL."""
    origin = request.headers.get("origin", "")
    if not origin or origin == "null":
        return False
    if settings.public_url and origin == _origin(settings.public_url):
        return True
    return origin == f"{request.scope['scheme']}://{request.headers.get('host', '')}"


def is_secure(request: Request[Any, Any, Any], settings: DashboardSettings) -> bool:
    """Whether the browser speaks TLS, to us or to the proxy at the public URL."""
    if request.scope["scheme"] == "https":
        return True
    public = urlsplit(settings.public_url or "")
    return public.scheme == "https" and request.headers.get("host", "") == public.netloc


def _is_on_this_machine(request: Request[Any, Any, Any]) -> bool:
    """Peer and Host are loopback and nothing was forwarded: only then is nobody else at the keyboard.

    The Host matters because a foreign name may have been made to resolve to 127.0.0.1.
    """
    if any(name in request.headers for name in _FORWARDED):
        return False
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    peer = request.client.host if request.client else ""
    return _is_loopback(peer) and (host == "localhost" or _is_loopback(host))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _choose_language(request: Request[Any, Any, Any], visitor: Visitor) -> None:
    asked = request.query_params.get("lang", "")
    kept = request.cookies.get(LANGUAGE_COOKIE, "")
    if asked in LANGUAGES:
        visitor.language = asked
        visitor.cookies.append(_kept(LANGUAGE_COOKIE, asked))
    elif kept in LANGUAGES:
        visitor.language = kept
    else:
        visitor.language = preferred_language(request.headers.get("accept-language", ""))


def _choose_theme(request: Request[Any, Any, Any], visitor: Visitor) -> None:
    asked = request.query_params.get("theme", "")
    kept = request.cookies.get(THEME_COOKIE, "")
    if asked in THEMES:
        visitor.cookies.append(_kept(THEME_COOKIE, asked))
    visitor.theme = next((each for each in (asked, kept) if each in THEMES), "system")


def _kept(name: str, value: str) -> Cookie:
    """A cookie for a year that says how pages look, and nothing that must be kept from anybody."""
    return Cookie(key=name, value=value, path="/", samesite="lax", max_age=_YEAR_S)


def _give_form_token(request: Request[Any, Any, Any], visitor: Visitor) -> None:
    """Before there is a session, a form must carry what this cookie holds."""
    visitor.csrf = request.cookies.get(_cookie_name(FORM_COOKIE, visitor.is_secure), "")
    if not visitor.csrf and request.method == "GET":
        visitor.csrf = secrets.token_urlsafe(24)
        visitor.cookies.append(visitor.cookie(FORM_COOKIE, visitor.csrf, None))


def _cookie_name(name: str, secure: bool) -> str:
    return _HOST_PREFIX + name if secure else name


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
