"""Settings: the API key, the password, the browsers that are signed in, and how pages look."""

from typing import Any

from litestar import get, post

from appliance.dashboard.agents import in_words
from appliance.dashboard.forms import Form
from appliance.dashboard.pages import Page, Pages, Problem, go_to
from appliance.dashboard.visitor import THEMES, Member
from appliance.gateway.accounts import AccountRefused
from appliance.gateway.gateway import Gateway
from appliance.gateway.vault import VaultError
from appliance.model.errors import GatewayError
from appliance.store import browser_sessions

PATH = "/dashboard/settings"


@get(PATH)
async def show_settings(gateway: Gateway, pages: Pages, member: Member, done: str = "") -> Page:
    return await _page(gateway, pages, member, done=done)


@post(PATH + "/reveal")
async def reveal_key(gateway: Gateway, pages: Pages, member: Member, form: Form) -> Page:
    """The password, typed again, opens an hour in which the key is shown."""
    accounts, visitor = gateway.accounts, member.visitor
    try:
        await accounts.check_password(member.account, form.secret("password"), visitor.address)
    except GatewayError as error:
        problem = pages.problem(visitor, error)
        return await _page(gateway, pages, member, status=422, key_problem=problem)
    await accounts.sessions.confirm(member.session)
    return go_to(visitor, PATH)


@post(PATH + "/rotate")
async def rotate_key(gateway: Gateway, member: Member) -> Page:
    await gateway.accounts.rotate_key(member.account)
    return go_to(member.visitor, f"{PATH}?done=rotated")


@post(PATH + "/password")
async def change_password(gateway: Gateway, pages: Pages, member: Member, form: Form) -> Page:
    """A new password; every other browser is signed out."""
    accounts, visitor = gateway.accounts, member.visitor
    try:
        if form.secret("new_password") != form.secret("new_password_again"):
            raise AccountRefused("password_differs", "The two new passwords differ.", "new_password_again")
        await accounts.check_password(member.account, form.secret("password"), visitor.address)
        await accounts.set_password(member.account, form.secret("new_password"))
    except GatewayError as error:
        problem = pages.problem(visitor, error)
        return await _page(gateway, pages, member, status=422, password_problem=problem)
    await accounts.sessions.end_others(member.session)
    return go_to(visitor, f"{PATH}?done=password")


@post(PATH + "/sign-out")
async def sign_out_one(gateway: Gateway, member: Member, form: Form) -> Page:
    """End one session; its name is the hash of its cookie, which opens nothing."""
    try:
        token_hash = bytes.fromhex(form.text("browser"))
    except ValueError:
        token_hash = b""
    await gateway.accounts.sessions.end_one(member.account.id, token_hash)
    return go_to(member.visitor, f"{PATH}?done=signed_out_one")


@post(PATH + "/sign-out-others")
async def sign_out_others(gateway: Gateway, member: Member) -> Page:
    await gateway.accounts.sessions.end_others(member.session)
    return go_to(member.visitor, f"{PATH}?done=signed_out")


async def _page(
    gateway: Gateway,
    pages: Pages,
    member: Member,
    *,
    status: int = 200,
    done: str = "",
    key_problem: Problem | None = None,
    password_problem: Problem | None = None,
) -> Page:
    sessions = await gateway.reader.all(
        browser_sessions.of_account(member.account.id, gateway.clock.now_ms())
    )
    values: dict[str, Any] = {
        "here": "settings",
        "tab": "settings",
        "account": member.account,
        "api_key": None,
        "done": done,
        "key_problem": key_problem,
        "password_problem": password_problem,
        "browsers": [(session, in_words(session.agent)) for session in sessions],
        "this_browser": member.session.token_hash,
        "themes": THEMES,
    }
    if gateway.accounts.sessions.is_confirmed(member.session):
        try:
            values["api_key"] = gateway.accounts.reveal_key(member.account)
        except VaultError:
            values["key_problem"] = Problem(pages.text(member.visitor, "key.unreadable"))
    return pages.show(member.visitor, "settings.html", status=status, **values)


HANDLERS = [show_settings, reveal_key, rotate_key, change_password, sign_out_one, sign_out_others]
