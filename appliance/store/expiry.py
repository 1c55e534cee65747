"""Deleting what is too old, a bounded number of rows at a time."""

from appliance.store import chats
from appliance.store.database import Transaction
from appliance.store.query import Query, count

DAY_MS = 24 * 3600 * 1000
OLDEST = 5_000
"""How many of the oldest rows are looked at: the writer must not read a whole table."""

_FREE_PAGES = count("PRAGMA freelist_count")


def short_lived(tx: Transaction, now_ms: int, limit: int) -> int:
    """Idempotency keys after a day, receipts that waited a week for their message, tickets and browser
    sessions that ended."""
    gone = tx.run(
        "DELETE FROM idempotency WHERE (account_id, key) IN "
        "(SELECT account_id, key FROM idempotency WHERE created_at < ? LIMIT ?)",
        now_ms - DAY_MS,
        limit,
    )
    gone += tx.run(
        "DELETE FROM waiting_receipts WHERE (device_id, wa_id, participant, status) IN "
        "(SELECT device_id, wa_id, participant, status FROM waiting_receipts WHERE created_at < ? LIMIT ?)",
        now_ms - 7 * DAY_MS,
        limit,
    )
    gone += tx.run(
        "DELETE FROM stream_tickets WHERE expires_at < ? OR (opened = 0 AND open_by < ?)", now_ms, now_ms
    )
    return gone + tx.run("DELETE FROM browser_sessions WHERE expires_at < ?", now_ms)


def deliveries(tx: Transaction, before_ms: int, limit: int) -> int:
    """Deliveries, with their attempts, that ended long ago."""
    return tx.run(
        "DELETE FROM deliveries WHERE no IN (SELECT no FROM "
        "(SELECT no, created_at, status FROM deliveries ORDER BY no LIMIT ?) "
        "WHERE created_at < ? AND status IN ('delivered', 'dead') LIMIT ?)",
        OLDEST,
        before_ms,
        limit,
    )


def messages(tx: Transaction, before_ms: int, limit: int) -> int:
    """Old messages that no longer wait for anything."""
    rows = tx.all(
        Query(
            "DELETE FROM messages WHERE no IN (SELECT no FROM "
            "(SELECT no, created_at, told, status FROM messages ORDER BY no LIMIT ?) WHERE created_at < ? "
            "AND told = 1 AND (status IS NULL OR status NOT IN ('queued', 'sending')) LIMIT ?) "
            "RETURNING device_id, chat",
            (OLDEST, before_ms, limit),
            lambda row: (str(row[0]), str(row[1])),
        )
    )
    for device_id, chat in set(rows):
        chats.find_newest(tx, device_id, chat)
    return len(rows)


def give_back(tx: Transaction, pages: int) -> int:
    """Take up to so many free pages out of the file, which shrinks with a later checkpoint; returns how
    many."""
    for n in range(pages):
        if not tx.one(_FREE_PAGES):
            return n
        # Page by page: Python steps a statement without columns only once, and each step moves one page.
        tx.run("PRAGMA incremental_vacuum(1)")
    return max(pages, 0)
