"""What administrators do with other people's accounts: shut them out, let them in again, delete them."""

from appliance.gateway.accounts import AccountRefused, Accounts
from appliance.gateway.devices import DeviceManager
from appliance.model.account import Account
from appliance.model.errors import NotFound


class People:
    """Changes accounts together with their devices.

    `admin` is who asks, None for whoever holds the machine: nobody does this to themselves. Every method
    raises NotFound for an account that does not exist, and AccountRefused.
    """

    def __init__(self, accounts: Accounts, devices: DeviceManager) -> None:
        self._accounts = accounts
        self._devices = devices

    async def get(self, account_id: str) -> Account:
        account = await self._accounts.by_id(account_id)
        if account is None:
            raise NotFound("There is no such account.")
        return account

    async def disable(self, admin: Account | None, account_id: str) -> None:
        """Shut the account out; its devices disconnect and stay linked."""
        await self._other(admin, account_id)
        await self._accounts.set_disabled(account_id, disabled=True)
        for device in self._devices.of_account(account_id):
            await self._devices.disconnect(account_id, device.id)

    async def enable(self, account_id: str) -> None:
        """Let the account in again. Its devices stay disconnected until somebody connects them."""
        await self.get(account_id)
        await self._accounts.set_disabled(account_id, disabled=False)

    async def delete(self, admin: Account | None, account_id: str) -> int:
        """Delete the account with its devices, messages and webhooks; returns how many of its devices
        WhatsApp could not be told to unlink."""
        await self._other(admin, account_id)
        # From now on nothing new begins; if it stops half way, it can be done again.
        await self._accounts.set_disabled(account_id, disabled=True)
        still_linked = 0
        for device in self._devices.of_account(account_id):
            still_linked += not await self._devices.delete(account_id, device.id)
        await self._accounts.delete(account_id)
        return still_linked

    async def _other(self, admin: Account | None, account_id: str) -> Account:
        if admin is not None and admin.id == account_id:
            raise AccountRefused("own_account", "Not your own account.", "")
        return await self.get(account_id)
