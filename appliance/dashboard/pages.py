"""Answers for browsers: pages, live parts of pages and redirects, each with the same strict headers."""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Response
from markupsafe import Markup

from appliance import __version__
from appliance.assets import Assets
from appliance.dashboard.visitor import Visitor
from appliance.gateway.accounts import AccountRefused
from appliance.gateway.login_limits import TooManyAttempts
from appliance.model.errors import GatewayError

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}
PRIVATE = {**HEADERS, "Cache-Control": "no-store"}
HTML = "text/html"
DIGEST_LENGTH = 12

Page = Response[str]


class Problem(msgspec.Struct, frozen=True):
    """What went wrong, for a person: a sentence, perhaps more, and the form's field it is about."""

    title: str
    detail: str = ""
    field: str = ""


class Part(msgspec.Struct, frozen=True):
    """A part of a page that renews itself. `version` says when it changed; empty: whenever its HTML did.

    `is_announced`: screen readers say what is new in it; `frame` is the template of what stands around it.
    """

    template: str
    values: dict[str, Any]
    version: str = ""
    is_announced: bool = False
    frame: str = "_part.html"

    def version_of(self, html: str) -> str:
        return hashlib.sha256((self.version or html).encode()).hexdigest()[:DIGEST_LENGTH]


class Pages:
    """Renders templates for a visitor. `needs_a_look` says whether an administrator should look at the system
    page."""

    def __init__(self, assets: Assets, needs_a_look: Callable[[], bool]) -> None:
        self._assets = assets
        self._needs_a_look = needs_a_look

    def show(self, visitor: Visitor, template: str, *, status: int = 200, **values: Any) -> Page:
        """A whole page."""
        is_admin = visitor.account is not None and visitor.account.role == "admin"
        html = self._render(visitor, template, {"alarm": is_admin and self._needs_a_look(), **values})
        return Response(html, status_code=status, media_type=HTML, headers=PRIVATE, cookies=visitor.cookies)

    def part(self, visitor: Visitor, url: str, part: Part, *, every_s: int = 0) -> Markup:
        """The part as it stands in a whole page: it asks `url` for its newest self when something changed,
        and every `every_s` seconds if that is given."""
        inner = self._framed(part, self._render(visitor, part.template, part.values))
        frame = {"url": url, "inner": inner, "every_s": every_s, "is_announced": part.is_announced}
        return Markup(self._render(visitor, part.frame, frame))  # noqa: S704

    def still(self, visitor: Visitor, part: Part) -> Markup:
        """The part as it is now: it does not renew itself."""
        return self._framed(part, self._render(visitor, part.template, part.values))

    def fragment(
        self, visitor: Visitor, template: str, *, status: int = 200, says: str = "", **values: Any
    ) -> Page:
        """A piece of a page for a script that asked for it; `says` is an event for the page around it."""
        headers = {**PRIVATE, "HX-Trigger": says} if says else PRIVATE
        html = self._render(visitor, template, values)
        return Response(html, status_code=status, media_type=HTML, headers=headers)

    def refresh(self, visitor: Visitor, seen: str, part: Part) -> Page:
        """The part's newest self, or 204 when that is what the browser already shows: then nothing moves,
        no focus is lost and a screen reader stays quiet."""
        html = self._render(visitor, part.template, part.values)
        if part.version_of(html) == seen:
            return Response("", status_code=204, headers=PRIVATE)
        return Response(str(self._framed(part, html)), status_code=200, media_type=HTML, headers=PRIVATE)

    def text(self, visitor: Visitor, key: str, **values: object) -> str:
        return self._assets.text(visitor.language, key, **values)

    def problem(self, visitor: Visitor, error: GatewayError) -> Problem:
        """The refusal in the visitor's language, as far as the catalogue knows it."""
        if isinstance(error, AccountRefused):
            return Problem(self.text(visitor, f"account.{error.reason}"), field=error.field)
        if isinstance(error, TooManyAttempts):
            wait_s = math.ceil(error.retry_after_s or 1)
            return Problem(self.text(visitor, "account.too_many_attempts", seconds=wait_s))
        field = error.errors[0].field if error.errors else ""
        if self._assets.has_text(f"refusal.{error.code}"):
            return Problem(self.text(visitor, f"refusal.{error.code}"), error.detail, field)
        return Problem(error.detail, field=field)

    def _framed(self, part: Part, html: str) -> Markup:
        seen = Markup('<input type="hidden" name="seen" value="{}">').format(part.version_of(html))
        # What our own template rendered has been escaped there.
        return seen + Markup(html)  # noqa: S704

    def _render(self, visitor: Visitor, template: str, values: Mapping[str, Any]) -> str:
        return self._assets.render(template, visitor.language, visitor=visitor, version=__version__, **values)


def go_to(visitor: Visitor, path: str, *, by_script: bool = False) -> Page:
    """See Other: after a form, so that reloading does not send it again. `by_script`: the form was sent by
    htmx, which takes the whole page there."""
    if by_script:
        return Response("", status_code=200, media_type=HTML, headers={**PRIVATE, "HX-Redirect": path})
    headers = {**PRIVATE, "Location": path}
    return Response("", status_code=303, media_type=HTML, headers=headers, cookies=visitor.cookies)


def to_login() -> Page:
    """What a live part gets when the session is over: the whole page goes to the login."""
    return Response("", status_code=401, media_type=HTML, headers={**PRIVATE, "HX-Redirect": "/login"})


def login_path(then: str) -> str:
    """The login page, which leads on to `then`."""
    return f"/login?next={quote(then)}" if then not in {"", "/", "/dashboard"} else "/login"
