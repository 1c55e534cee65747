"""What the gateway does when the command line asks for a device to be moved."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from appliance.control import Command
from appliance.gateway.moves import Identity
from appliance.house import House
from appliance.model.account import Account
from appliance.model.device import Device
from appliance.model.errors import Conflict, GatewayError, NotFound
from appliance.store import accounts


def commands(house: House) -> Mapping[str, Command]:
    """What the gateway does for `export` and `import`, by the control socket or by itself."""
    changes = _Changes(house)
    return {
        "device-hand-over": changes.hand_over,
        "device-take-back": changes.take_back,
        "device-take-in": changes.take_in,
    }


class _Changes:
    """Where the gateway runs, a device that comes is connected at once; else by the next start."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def hand_over(self, details: dict[str, Any]) -> dict[str, Any]:
        gone = await self._house.moves.hand_over(details["device"])
        return {
            "exportId": gone.export_id,
            "again": gone.again,
            "session": str(gone.session.absolute()),
            "identity": msgspec.to_builtins(gone.identity),
        }

    async def take_back(self, details: dict[str, Any]) -> dict[str, Any]:
        return await self._connected(await self._house.moves.take_back(details["device"]))

    async def take_in(self, details: dict[str, Any]) -> dict[str, Any]:
        try:
            identity = msgspec.convert(details["identity"], Identity)
        except msgspec.ValidationError:
            raise Conflict("The file does not say which device it is.") from None
        here = self._house.gateway.devices.known(identity.id)
        account = await self._account(details["account"], here)
        session = Path(details["session"])
        return await self._connected(
            await self._house.moves.take_in(account, identity, details["exportId"], session)
        )

    async def _account(self, email: str | None, here: Device | None) -> Account:
        """The account that is named, or has the device already, or is the only one."""
        found = await self._house.gateway.reader.all(accounts.all_of_them())
        if email is not None:
            found = [account for account in found if account.email.lower() == email.strip().lower()]
        elif here is not None:
            found = [account for account in found if account.id == here.account_id]
        if not found:
            raise NotFound("There is no such account here: make it first (wa-gateway user create).")
        if len(found) > 1:
            raise Conflict("There are several accounts here: say whose it is to be with --account EMAIL.")
        return found[0]

    async def _connected(self, device: Device) -> dict[str, Any]:
        manager = self._house.gateway.devices
        connecting = False
        if manager.resumed:
            # It is here, whether or not it can be connected just now.
            with contextlib.suppress(GatewayError):
                await manager.connect(device.account_id, device.id)
                connecting = True
        return {"id": device.id, "name": device.name, "connecting": connecting}
