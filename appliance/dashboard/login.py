"""Registering, signing in and out, and the front door `/`."""

from typing import Any

from litestar import Request, get, post

from appliance.dashboard.forms import Form, Typed
from appliance.dashboard.pages import Page, Pages, go_to
from appliance.dashboard.visitor import Member, Visitor
from appliance.gateway.gateway import Gateway
from appliance.model.account import Account
from appliance.model.errors import GatewayError

HOME = "/dashboard"


@get("/")
async def front_door(gateway: Gateway, visitor: Visitor) -> Page:
    """Where this visitor should begin."""
    if visitor.account is not None:
        return go_to(visitor, HOME)
    return go_to(visitor, "/register" if gateway.accounts.is_empty else "/login")


@get("/login")
async def show_login(
    gateway: Gateway, pages: Pages, visitor: Visitor, request: Request[Any, Any, Any]
) -> Page:
    if visitor.account is not None:
        return go_to(visitor, HOME)
    then = request.query_params.get("next", "")
    return _login_page(gateway, pages, visitor, typed=Typed(next=then))


@post("/login")
async def log_in(gateway: Gateway, pages: Pages, visitor: Visitor, form: Form) -> Page:
    try:
        account = await gateway.accounts.login(form.text("email"), form.secret("password"), visitor.address)
    except GatewayError as error:
        typed = form.typed("email", "next")
        return _login_page(
            gateway, pages, visitor, status=422, typed=typed, problem=pages.problem(visitor, error)
        )
    await start_session(gateway, visitor, account)
    return go_to(visitor, _own_path(form.text("next")))


@get("/register")
async def show_register(gateway: Gateway, pages: Pages, visitor: Visitor) -> Page:
    if visitor.account is not None:
        return go_to(visitor, HOME)
    return _register_page(gateway, pages, visitor)


@post("/register")
async def register(gateway: Gateway, pages: Pages, visitor: Visitor, form: Form) -> Page:
    try:
        account, _ = await gateway.accounts.register(
            form.text("email"),
            form.text("name"),
            form.secret("password"),
            setup_token=form.text("setup_token"),
            on_this_machine=visitor.is_on_this_machine,
            address=visitor.address,
        )
    except GatewayError as error:
        typed = form.typed("email", "name", "setup_token")
        problem = pages.problem(visitor, error)
        return _register_page(gateway, pages, visitor, status=422, typed=typed, problem=problem)
    await start_session(gateway, visitor, account)
    return go_to(visitor, HOME)


@post("/logout")
async def log_out(gateway: Gateway, member: Member) -> Page:
    await gateway.accounts.sessions.end(member.session)
    member.visitor.sign_out()
    return go_to(member.visitor, "/login")


async def start_session(gateway: Gateway, visitor: Visitor, account: Account) -> None:
    """Sign the visitor in, whoever they were before."""
    token = await gateway.accounts.sessions.start(
        account.id, visitor.agent, visitor.address, replaces=visitor.session_token
    )
    visitor.sign_in(token)


def _login_page(gateway: Gateway, pages: Pages, visitor: Visitor, status: int = 200, **values: Any) -> Page:
    shown = {"typed": Typed(), "problem": None, "may_register": gateway.accounts.may_register} | values
    return pages.show(visitor, "login.html", status=status, **shown)


def _register_page(
    gateway: Gateway, pages: Pages, visitor: Visitor, status: int = 200, **values: Any
) -> Page:
    accounts = gateway.accounts
    shown = {
        "typed": Typed(),
        "problem": None,
        "is_open": accounts.may_register,
        "is_first": accounts.is_empty,
        "needs_token": accounts.is_empty and not visitor.is_on_this_machine,
        "action": "/register",
    }
    return pages.show(visitor, "register.html", status=status, **(shown | values))


def _own_path(path: str) -> str:
    """Where to go after signing in: only to a page of the dashboard, never to another host."""
    return path if path.startswith("/dashboard") and "\\" not in path and "//" not in path else HOME


HANDLERS = [front_door, show_login, log_in, show_register, register, log_out]
