"""The stream_tickets table: short-lived passes for event streams, of which only a hash is kept."""

import msgspec

from appliance.store.database import Transaction
from appliance.store.query import Query, insertion, parameters, select


class StreamTicket(msgspec.Struct, kw_only=True):
    """A row of `stream_tickets`. `device_id` None: the account's own stream. `key_hash` is the API key's
    at the time:
    another key voids the ticket. Times are ms; `opened`: it was used, so that only `expires_at` bounds it."""

    token_hash: bytes
    account_id: str
    key_hash: bytes
    device_id: str | None
    created_at: int
    open_by: int
    opened: bool = False
    expires_at: int


_INSERT = insertion(StreamTicket, "stream_tickets")


def insert(tx: Transaction, ticket: StreamTicket) -> None:
    tx.run(_INSERT, *parameters(ticket))


def usable(token_hash: bytes, now_ms: int) -> Query[StreamTicket]:
    """The ticket, if it can open its stream now: for the first time, or again. Not after the key was
    rotated or the account disabled."""
    where = (
        "token_hash = ?1 AND expires_at > ?2 AND (opened = 1 OR open_by > ?2) "
        "AND key_hash = (SELECT key_hash FROM accounts WHERE id = account_id AND disabled_at IS NULL)"
    )
    return select(StreamTicket, "stream_tickets", where, token_hash, now_ms)


def mark_opened(tx: Transaction, token_hash: bytes) -> None:
    tx.run("UPDATE stream_tickets SET opened = 1 WHERE token_hash = ?", token_hash)


def delete_useless(tx: Transaction, now_ms: int) -> None:
    """Delete those that can open nothing any more."""
    tx.run("DELETE FROM stream_tickets WHERE expires_at <= ?1 OR (opened = 0 AND open_by <= ?1)", now_ms)
