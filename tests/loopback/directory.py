"""Who exists: accounts by number and LID, groups; and how that survives a restart."""

from __future__ import annotations

from collections.abc import Iterator

from loopback.model import Account, Device, Group
from loopback.nodes import GROUP, JID, LID

_FIRST_LID = 100_000_000_000_001


class Directory:
    """The one place that maps JIDs to accounts, devices and groups."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.groups: dict[str, Group] = {}
        self._by_lid: dict[str, Account] = {}

    def add(self, number: str, name: str, number_hidden: bool) -> Account:
        """Replaces an account of the same number, as if it had been registered anew."""
        lid = str(_FIRST_LID + len(self._by_lid))
        account = Account(number, name or f"User {number[-4:]}", lid, number_hidden)
        self.accounts[number] = self._by_lid[lid] = account
        return account

    def account(self, jid: JID) -> Account | None:
        if jid.server == LID:
            return self._by_lid.get(jid.user)
        return self.accounts.get(jid.user)

    def device(self, jid: JID) -> Device | None:
        account = self.account(jid)
        return account.devices.get(jid.device) if account else None

    def devices(self) -> Iterator[Device]:
        for account in self.accounts.values():
            yield from account.devices.values()

    def group(self, jid: JID) -> Group | None:
        return self.groups.get(jid.user) if jid.server == GROUP else None

    def members(self, group: Group) -> list[Account]:
        return [self.accounts[number] for number in group.members]
