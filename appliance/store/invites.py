"""The invites table: links that open once, of which only a hash is kept."""

from appliance.model.account import Invite
from appliance.store.database import Transaction
from appliance.store.query import Query, insertion, parameters, select

_INSERT = insertion(Invite, "invites")


def insert(tx: Transaction, invite: Invite) -> None:
    tx.run(_INSERT, *parameters(invite))


def usable(token_hash: bytes, now_ms: int) -> Query[Invite]:
    """The link with that token, unless it was used, taken back or has run out."""
    return select(Invite, "invites", "token_hash = ? AND expires_at > ?", token_hash, now_ms)


def open_ones(now_ms: int) -> Query[Invite]:
    """Every link that still opens, the newest first."""
    return select(Invite, "invites", "expires_at > ? ORDER BY created_at DESC, id", now_ms)


def delete(tx: Transaction, invite_id: str) -> bool:
    """Take the link back, or use it up; False when it is gone already."""
    return tx.run("DELETE FROM invites WHERE id = ?", invite_id) == 1


def delete_for(tx: Transaction, account_id: str) -> None:
    """Take back every link to a new password of that account."""
    tx.run("DELETE FROM invites WHERE account_id = ?", account_id)


def delete_expired(tx: Transaction, now_ms: int) -> None:
    tx.run("DELETE FROM invites WHERE expires_at <= ?", now_ms)
