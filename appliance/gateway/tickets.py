"""Stream tickets: a browser's EventSource sends no headers, so its address carries a short-lived pass
instead of the
key."""

import hashlib
import secrets

from appliance.model.account import Account
from appliance.model.clock import Clock
from appliance.store import accounts, tickets
from appliance.store.database import Database, Reader, Transaction
from appliance.store.tickets import StreamTicket

OPEN_WITHIN_MS = 60_000
LIFE_MS = 24 * 3600 * 1000


class Tickets:
    """Mints and checks stream tickets; they survive a restart and die with the API key they were minted
    under."""

    def __init__(self, db: Database, reader: Reader, clock: Clock) -> None:
        self._db = db
        self._reader = reader
        self._clock = clock

    async def mint(self, account: Account, device_id: str | None) -> tuple[str, int]:
        """A new ticket for that stream (None: the account's) and the time (ms) until which it must be
        opened."""
        token, now = secrets.token_urlsafe(32), self._clock.now_ms()
        row = StreamTicket(
            token_hash=_hash(token),
            account_id=account.id,
            key_hash=account.key_hash,
            device_id=device_id,
            created_at=now,
            open_by=now + OPEN_WITHIN_MS,
            expires_at=now + LIFE_MS,
        )

        def work(tx: Transaction) -> None:
            tickets.delete_useless(tx, now)
            tickets.insert(tx, row)

        await self._db.transaction(work)
        return token, row.open_by

    async def open(self, token: str, device_id: str | None) -> Account | None:
        """The account whose stream the ticket opens now; None when it opens nothing, or another stream."""
        token_hash, now = _hash(token), self._clock.now_ms()
        ticket = await self._reader.one(tickets.usable(token_hash, now))
        if ticket is None or ticket.device_id != device_id:
            return None
        if not ticket.opened:
            await self._db.transaction(lambda tx: tickets.mark_opened(tx, token_hash))
        account = await self._reader.one(accounts.by_id(ticket.account_id))
        # The key may have been rotated since the ticket was looked up.
        return account if account is not None and account.key_hash == ticket.key_hash else None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
