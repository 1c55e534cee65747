"""People: the accounts of this gateway, for its administrators."""

from typing import Any, get_args

from litestar import get, post

from appliance.dashboard.forms import Form, Typed
from appliance.dashboard.pages import Page, Pages, go_to
from appliance.dashboard.visitor import Member
from appliance.gateway.accounts import AccountRefused, Registration
from appliance.gateway.gateway import Gateway
from appliance.model.account import Role
from appliance.model.errors import GatewayError, NotFound
from appliance.store import accounts, webhooks

PATH = "/dashboard/people"
ONE = PATH + "/{account_id:str}"
MOST_WEBHOOKS = 200


@get(PATH)
async def show_people(gateway: Gateway, pages: Pages, admin: Member, done: str = "") -> Page:
    return await _list_page(gateway, pages, admin, done=done)


@post(PATH)
async def create_person(gateway: Gateway, pages: Pages, admin: Member, form: Form) -> Page:
    role: Role = "admin" if form.text("role") == "admin" else "user"
    try:
        account, _ = await gateway.accounts.create(
            form.text("email"), form.text("name"), form.secret("password"), role
        )
    except GatewayError as error:
        values = {
            "typed": form.typed("email", "name", "role"),
            "problem": pages.problem(admin.visitor, error),
        }
        return await _list_page(gateway, pages, admin, status=422, **values)
    return go_to(admin.visitor, f"{PATH}/{account.id}?done=created")


@post(PATH + "/registration")
async def choose_registration(gateway: Gateway, admin: Member, form: Form) -> Page:
    chosen = "" if form.text("reset") else form.text("registration")
    policy = next((each for each in get_args(Registration) if each == chosen), None)
    await gateway.accounts.choose_registration(policy)
    return go_to(admin.visitor, f"{PATH}?done=registration#registration")


@post(PATH + "/invite")
async def invite(gateway: Gateway, pages: Pages, admin: Member) -> Page:
    """A link that makes one account; shown in the answer and nowhere else."""
    token = await gateway.invites.make(admin.account)
    link = f"{admin.visitor.base_url}/register/{token}"
    return await _list_page(gateway, pages, admin, link=link)


@post(PATH + "/revoke")
async def revoke(gateway: Gateway, admin: Member, form: Form) -> Page:
    await gateway.invites.revoke(form.text("invite"))
    return go_to(admin.visitor, f"{PATH}?done=revoked#invites")


@get(ONE)
async def show_person(gateway: Gateway, pages: Pages, admin: Member, account_id: str, done: str = "") -> Page:
    return await _page(gateway, pages, admin, account_id, done=done)


@post(ONE + "/reset")
async def reset_password(gateway: Gateway, pages: Pages, admin: Member, account_id: str) -> Page:
    """A link to a new password; shown in the answer and nowhere else."""
    account = await gateway.people.get(account_id)
    token = await gateway.invites.make(admin.account, account)
    link = f"{admin.visitor.base_url}/login/reset/{token}"
    return await _page(gateway, pages, admin, account_id, link=link)


@post(ONE + "/disable")
async def disable(gateway: Gateway, pages: Pages, admin: Member, account_id: str) -> Page:
    try:
        await gateway.people.disable(admin.account, account_id)
    except AccountRefused as error:
        return await _refused(gateway, pages, admin, account_id, error)
    return go_to(admin.visitor, f"{PATH}/{account_id}?done=disabled")


@post(ONE + "/enable")
async def enable(gateway: Gateway, admin: Member, account_id: str) -> Page:
    await gateway.people.enable(account_id)
    return go_to(admin.visitor, f"{PATH}/{account_id}?done=enabled")


@post(ONE + "/delete")
async def delete(gateway: Gateway, pages: Pages, admin: Member, account_id: str, form: Form) -> Page:
    """Only with the account's email typed again: nothing brings it back."""
    account = await gateway.people.get(account_id)
    try:
        if form.text("email").lower() != account.email.lower():
            raise AccountRefused("email_differs", "That is not this account's email.", "email")
        still_linked = await gateway.people.delete(admin.account, account_id)
    except AccountRefused as error:
        return await _refused(gateway, pages, admin, account_id, error)
    return go_to(admin.visitor, f"{PATH}?done={'deleted_still_linked' if still_linked else 'deleted'}")


async def _refused(
    gateway: Gateway, pages: Pages, admin: Member, account_id: str, error: AccountRefused
) -> Page:
    problem = pages.problem(admin.visitor, error)
    return await _page(gateway, pages, admin, account_id, status=422, problem=problem)


async def _page(
    gateway: Gateway, pages: Pages, admin: Member, account_id: str, *, status: int = 200, **values: Any
) -> Page:
    account = await gateway.accounts.by_id(account_id)
    if account is None:
        raise NotFound("There is no such account.")
    shown = {
        "here": "settings",
        "tab": "people",
        "person": account,
        "is_self": account.id == admin.account.id,
        "devices": gateway.devices.of_account(account_id),
        "webhooks": len(await gateway.reader.all(webhooks.page(account_id, None, MOST_WEBHOOKS))),
        "done": "",
        "link": "",
        "problem": None,
    }
    return pages.show(admin.visitor, "person.html", status=status, **(shown | values))


async def _list_page(
    gateway: Gateway, pages: Pages, admin: Member, *, status: int = 200, **values: Any
) -> Page:
    everybody = await gateway.reader.all(accounts.all_of_them())
    shown = {
        "here": "settings",
        "tab": "people",
        "done": "",
        "link": "",
        "typed": Typed(),
        "problem": None,
        "own": admin.account,
        "people": [(each, len(gateway.devices.of_account(each.id))) for each in everybody],
        "names": {each.id: each.email for each in everybody},
        "invites": await gateway.invites.open_ones(),
        "registration": gateway.accounts.registration,
        "configured": gateway.accounts.configured_registration,
        "policies": get_args(Registration),
    }
    return pages.show(admin.visitor, "people.html", status=status, **(shown | values))


HANDLERS = [
    show_people,
    create_person,
    choose_registration,
    invite,
    revoke,
    show_person,
    reset_password,
    disable,
    enable,
    delete,
]
