"""Signed-in browsers: a random cookie of which only the SHA-256 is kept."""

import contextlib
import hashlib
import secrets

from appliance.model.account import BrowserSession
from appliance.model.clock import Clock
from appliance.model.errors import GatewayError
from appliance.store import browser_sessions
from appliance.store.database import Database, Reader, Transaction

LIFE_MS = 14 * 24 * 3600 * 1000
CONFIRMED_MS = 3600 * 1000
_SEEN_EVERY_MS = 5 * 60 * 1000
_AGENT_LENGTH = 200


class BrowserSessions:
    """Starts, finds and ends sessions of the dashboard."""

    def __init__(self, db: Database, reader: Reader, clock: Clock) -> None:
        self._db = db
        self._reader = reader
        self._clock = clock

    async def start(self, account_id: str, agent: str, address: str, replaces: str | None = None) -> str:
        """A new session; returns its cookie. The cookie is never one the browser brought along: that
        session, `replaces`, ends (fixation)."""
        token, now = secrets.token_urlsafe(32), self._clock.now_ms()
        session = BrowserSession(
            token_hash=_hash(token),
            account_id=account_id,
            csrf=secrets.token_urlsafe(24),
            agent=agent[:_AGENT_LENGTH],
            address=address,
            created_at=now,
            confirmed_at=now,
            seen_at=now,
            expires_at=now + LIFE_MS,
        )

        def work(tx: Transaction) -> None:
            browser_sessions.delete_expired(tx, now)
            if replaces is not None:
                browser_sessions.delete(tx, _hash(replaces))
            browser_sessions.insert(tx, session)

        await self._db.transaction(work)
        return token

    async def find(self, token: str) -> BrowserSession | None:
        """The session of that cookie. Notes that it was seen, at most once in five minutes."""
        now = self._clock.now_ms()
        session = await self._reader.one(browser_sessions.by_token(_hash(token), now))
        if session is not None and abs(now - session.seen_at) > _SEEN_EVERY_MS:
            await self._mark_seen(session.token_hash, now)
        return session

    async def _mark_seen(self, token_hash: bytes, now: int) -> None:
        # A full disk must not keep people from the page that tells them so.
        with contextlib.suppress(GatewayError):
            await self._db.transaction(lambda tx: browser_sessions.mark_seen(tx, token_hash, now))

    def is_confirmed(self, session: BrowserSession) -> bool:
        """Whether the password was typed within the last hour, so that secrets may be shown."""
        return 0 <= self._clock.now_ms() - session.confirmed_at < CONFIRMED_MS

    async def confirm(self, session: BrowserSession) -> None:
        """The password was typed again just now."""
        now = self._clock.now_ms()
        await self._db.transaction(lambda tx: browser_sessions.mark_confirmed(tx, session.token_hash, now))

    async def end(self, session: BrowserSession) -> None:
        await self._db.transaction(lambda tx: browser_sessions.delete(tx, session.token_hash))

    async def end_one(self, account_id: str, token_hash: bytes) -> bool:
        """Sign one browser of the account out; False when there is none such."""
        return await self._db.transaction(lambda tx: browser_sessions.delete_one(tx, account_id, token_hash))

    async def end_others(self, session: BrowserSession) -> int:
        """Sign the account out everywhere else; returns how many sessions ended."""
        return await self._db.transaction(
            lambda tx: browser_sessions.delete_others(tx, session.account_id, session.token_hash)
        )

    async def end_all(self, account_id: str) -> int:
        """Sign the account out everywhere; returns how many sessions ended."""
        return await self._db.transaction(lambda tx: browser_sessions.delete_all(tx, account_id))


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
