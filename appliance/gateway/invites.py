"""Invites: links that open once, for making an account or giving one a new password."""

import hashlib
import secrets

from appliance.gateway.accounts import AccountRefused, Accounts
from appliance.model.account import Account, Invite
from appliance.model.clock import Clock
from appliance.model.ids import new_id
from appliance.store import browser_sessions, invites
from appliance.store.database import Database, Reader, Transaction

LIFE_MS = 7 * 24 * 3600 * 1000


class Invites:
    """Makes, opens and takes back links. A token is shown once: only its SHA-256 is kept."""

    def __init__(self, db: Database, reader: Reader, clock: Clock, accounts: Accounts) -> None:
        self._db = db
        self._reader = reader
        self._clock = clock
        self._accounts = accounts

    async def make(self, made_by: Account, for_account: Account | None = None) -> str:
        """A new link's token: to make an account, or to give `for_account` a new password, and then its
        older links no longer open."""
        token, now = secrets.token_urlsafe(32), self._clock.now_ms()
        invite = Invite(
            id=new_id(),
            token_hash=_hash(token),
            account_id=for_account.id if for_account else None,
            made_by=made_by.id,
            created_at=now,
            expires_at=now + LIFE_MS,
        )

        def work(tx: Transaction) -> None:
            invites.delete_expired(tx, now)
            if for_account is not None:
                invites.delete_for(tx, for_account.id)
            invites.insert(tx, invite)

        await self._db.transaction(work)
        return token

    async def open_ones(self) -> list[Invite]:
        """Every link that still opens."""
        return await self._reader.all(invites.open_ones(self._clock.now_ms()))

    async def revoke(self, invite_id: str) -> None:
        """Take a link back; one that is gone is fine."""
        await self._db.transaction(lambda tx: invites.delete(tx, invite_id))

    async def is_for_account(self, token: str) -> bool:
        """Whether the link makes an account now."""
        invite = await self._find(token)
        return invite is not None and invite.account_id is None

    async def whose_password(self, token: str) -> Account | None:
        """The account that the link gives a new password now."""
        invite = await self._find(token)
        if invite is None or invite.account_id is None:
            return None
        return await self._accounts.by_id(invite.account_id)

    async def register(self, token: str, email: str, name: str, password: str) -> Account:
        """Make an account; the link is used up with it. Raises AccountRefused."""
        invite = await self._find(token)
        if invite is None or invite.account_id is not None:
            raise _useless()
        account, _ = await self._accounts.create(
            email, name, password, "user", lambda tx: self._use_up(tx, invite)
        )
        return account

    async def reset(self, token: str, password: str) -> Account:
        """Give the link's account that password and sign it out everywhere. Raises AccountRefused."""
        invite, account = await self._find(token), await self.whose_password(token)
        if invite is None or account is None:
            raise _useless()

        def use(tx: Transaction) -> None:
            self._use_up(tx, invite)
            browser_sessions.delete_all(tx, account.id)

        await self._accounts.set_password(account, password, use)
        return account

    async def _find(self, token: str) -> Invite | None:
        return await self._reader.one(invites.usable(_hash(token), self._clock.now_ms()))

    def _use_up(self, tx: Transaction, invite: Invite) -> None:
        if not invites.delete(tx, invite.id):
            raise _useless()


def _useless() -> AccountRefused:
    return AccountRefused("link_used", "The link was used, taken back or has run out.", "")


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
