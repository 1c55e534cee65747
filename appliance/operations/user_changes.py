"""What the gateway does when the command line asks for changes to accounts."""

from collections.abc import Mapping
from typing import Any

from appliance.control import Command
from appliance.house import House
from appliance.model.account import Account, Role
from appliance.model.errors import NotFound
from appliance.store import accounts


def commands(house: House) -> Mapping[str, Command]:
    """What the gateway does for `user`, by the control socket or by itself."""
    changes = _Changes(house)
    return {
        "user-list": changes.listed,
        "user-create": changes.create,
        "user-password": changes.set_password,
        "user-disable": changes.disable,
        "user-enable": changes.enable,
        "user-delete": changes.delete,
    }


class _Changes:
    """The gateway's side: whoever can open the control socket holds the machine, and may do all of it."""

    def __init__(self, house: House) -> None:
        self._gateway = house.gateway

    async def listed(self, _details: dict[str, Any]) -> dict[str, Any]:
        found = await self._gateway.reader.all(accounts.all_of_them())
        return {"users": [self._told(account) for account in found]}

    async def create(self, details: dict[str, Any]) -> dict[str, Any]:
        role: Role = "admin" if details["admin"] else "user"
        name = details["name"] or details["email"].partition("@")[0]
        _, key = await self._gateway.accounts.create(details["email"], name, details["password"], role)
        return {"apiKey": key}

    async def set_password(self, details: dict[str, Any]) -> dict[str, Any]:
        """A lost password is a reason to distrust every browser that is signed in."""
        account = await self._named(details)
        await self._gateway.accounts.set_password(account, details["password"])
        return {"ended": await self._gateway.accounts.sessions.end_all(account.id)}

    async def disable(self, details: dict[str, Any]) -> dict[str, Any]:
        await self._gateway.people.disable(None, (await self._named(details)).id)
        return {}

    async def enable(self, details: dict[str, Any]) -> dict[str, Any]:
        await self._gateway.people.enable((await self._named(details)).id)
        return {}

    async def delete(self, details: dict[str, Any]) -> dict[str, Any]:
        left = await self._gateway.people.delete(None, (await self._named(details)).id)
        return {"stillLinked": left}

    async def _named(self, details: dict[str, Any]) -> Account:
        account = await self._gateway.reader.one(accounts.by_email(details["email"].strip()))
        if account is None:
            raise NotFound("There is no account with that email.")
        return account

    def _told(self, account: Account) -> dict[str, Any]:
        return {
            "email": account.email,
            "name": account.name,
            "role": account.role,
            "disabled": account.disabled_at is not None,
            "devices": len(self._gateway.devices.of_account(account.id)),
            "createdAt": account.created_at,
        }
