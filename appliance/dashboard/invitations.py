"""What a link from an administrator opens: making an account, or choosing a new password."""

from typing import Any

from litestar import get, post

from appliance.dashboard.forms import Form, Typed
from appliance.dashboard.login import HOME, start_session
from appliance.dashboard.pages import Page, Pages, Problem, go_to
from appliance.dashboard.visitor import Visitor
from appliance.gateway.accounts import AccountRefused
from appliance.gateway.gateway import Gateway
from appliance.model.errors import GatewayError

INVITE = "/register/{token:str}"
RESET = "/login/reset/{token:str}"


@get(INVITE)
async def show_invitation(gateway: Gateway, pages: Pages, visitor: Visitor, token: str) -> Page:
    if not await gateway.invites.is_for_account(token):
        return _useless(pages, visitor)
    return _register_page(pages, visitor, token)


@post(INVITE)
async def accept_invitation(gateway: Gateway, pages: Pages, visitor: Visitor, token: str, form: Form) -> Page:
    try:
        account = await gateway.invites.register(
            token, form.text("email"), form.text("name"), form.secret("password")
        )
    except GatewayError as error:
        problem = pages.problem(visitor, error)
        typed = form.typed("email", "name")
        return _register_page(pages, visitor, token, status=422, typed=typed, problem=problem)
    await start_session(gateway, visitor, account)
    return go_to(visitor, HOME)


@get(RESET)
async def show_reset(gateway: Gateway, pages: Pages, visitor: Visitor, token: str) -> Page:
    if await gateway.invites.whose_password(token) is None:
        return _useless(pages, visitor)
    return await _reset_page(gateway, pages, visitor, token)


@post(RESET)
async def reset(gateway: Gateway, pages: Pages, visitor: Visitor, token: str, form: Form) -> Page:
    """A new password; it was chosen just now, so it need not be typed again to log in."""
    try:
        if form.secret("new_password") != form.secret("new_password_again"):
            raise AccountRefused("password_differs", "The two new passwords differ.", "new_password_again")
        account = await gateway.invites.reset(token, form.secret("new_password"))
    except GatewayError as error:
        problem = pages.problem(visitor, error)
        return await _reset_page(gateway, pages, visitor, token, status=422, problem=problem)
    if account.disabled_at is not None:
        return go_to(visitor, "/login")
    await start_session(gateway, visitor, account)
    return go_to(visitor, HOME)


def _useless(pages: Pages, visitor: Visitor) -> Page:
    problem = Problem(
        pages.text(visitor, "account.link_used"), pages.text(visitor, "account.link_used_detail")
    )
    return pages.show(visitor, "problem.html", status=404, problem=problem)


def _register_page(pages: Pages, visitor: Visitor, token: str, *, status: int = 200, **values: Any) -> Page:
    shown = {
        "typed": Typed(),
        "problem": None,
        "is_open": True,
        "is_first": False,
        "needs_token": False,
        "action": f"/register/{token}",
    }
    return pages.show(visitor, "register.html", status=status, **(shown | values))


async def _reset_page(
    gateway: Gateway,
    pages: Pages,
    visitor: Visitor,
    token: str,
    *,
    status: int = 200,
    problem: Problem | None = None,
) -> Page:
    account = await gateway.invites.whose_password(token)
    if account is None:
        return _useless(pages, visitor)
    values = {"email": account.email, "action": f"/login/reset/{token}", "problem": problem}
    return pages.show(visitor, "reset.html", status=status, **values)


HANDLERS = [show_invitation, accept_invitation, show_reset, reset]
