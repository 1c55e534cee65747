"""The browser_sessions table: browsers that are signed in to the dashboard."""

from appliance.model.account import BrowserSession
from appliance.store.database import Transaction
from appliance.store.query import Query, insertion, parameters, select

_INSERT = insertion(BrowserSession, "browser_sessions")


def insert(tx: Transaction, session: BrowserSession) -> None:
    tx.run(_INSERT, *parameters(session))


def by_token(token_hash: bytes, now_ms: int) -> Query[BrowserSession]:
    """The session of that cookie, unless it has run out."""
    return select(BrowserSession, "browser_sessions", "token_hash = ? AND expires_at > ?", token_hash, now_ms)


def of_account(account_id: str, now_ms: int) -> Query[BrowserSession]:
    """The account's signed-in browsers, the one seen last first."""
    where = "account_id = ? AND expires_at > ? ORDER BY seen_at DESC"
    return select(BrowserSession, "browser_sessions", where, account_id, now_ms)


def mark_seen(tx: Transaction, token_hash: bytes, now_ms: int) -> None:
    tx.run("UPDATE browser_sessions SET seen_at = ? WHERE token_hash = ?", now_ms, token_hash)


def mark_confirmed(tx: Transaction, token_hash: bytes, now_ms: int) -> None:
    tx.run("UPDATE browser_sessions SET confirmed_at = ? WHERE token_hash = ?", now_ms, token_hash)


def delete(tx: Transaction, token_hash: bytes) -> None:
    tx.run("DELETE FROM browser_sessions WHERE token_hash = ?", token_hash)


def delete_one(tx: Transaction, account_id: str, token_hash: bytes) -> bool:
    """End that session of the account; False when it has none such."""
    sql = "DELETE FROM browser_sessions WHERE account_id = ? AND token_hash = ?"
    return tx.run(sql, account_id, token_hash) == 1


def delete_all(tx: Transaction, account_id: str) -> int:
    """Sign the account out everywhere; returns how many sessions were ended."""
    return tx.run("DELETE FROM browser_sessions WHERE account_id = ?", account_id)


def delete_others(tx: Transaction, account_id: str, kept: bytes) -> int:
    """Sign the account out everywhere but in the session `kept`; returns how many were ended."""
    return tx.run("DELETE FROM browser_sessions WHERE account_id = ? AND token_hash <> ?", account_id, kept)


def delete_expired(tx: Transaction, now_ms: int) -> None:
    tx.run("DELETE FROM browser_sessions WHERE expires_at <= ?", now_ms)
