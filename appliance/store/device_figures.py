"""Figures about one device: what it was told lately, how much it wrote and heard, what goes when it goes."""

import msgspec

from appliance.model.event import Event
from appliance.store.query import Query, columns, count, decoder

COUNTED = 100_000
"""Beyond that many rows a count says that many."""


class Belongings(msgspec.Struct, frozen=True):
    """What a device's deletion takes along; `messages` stops at COUNTED."""

    messages: int
    files: int
    endpoints: int


def belongings(account_id: str, device_id: str) -> Query[Belongings]:
    messages = f"SELECT 1 FROM messages INDEXED BY messages_chat WHERE device_id = ?1 LIMIT {COUNTED}"  # noqa: S608
    files = "SELECT count(*) FROM media WHERE device_id = ?1 AND account_id = ?2 AND state = 'stored'"
    endpoints = "SELECT count(*) FROM endpoints WHERE account_id = ?2 AND device_id = ?1"
    sql = f"SELECT (SELECT count(*) FROM ({messages})), ({files}), ({endpoints})"  # noqa: S608
    return Query(sql, (device_id, account_id), lambda row: Belongings(*row))


def newest_events(account_id: str, device_id: str, limit: int) -> Query[Event]:
    """The device's events, newest first."""
    sql = (
        f"SELECT {columns(Event)} FROM events INDEXED BY events_device "  # noqa: S608
        "WHERE device_id = ? AND account_id = ? ORDER BY no DESC LIMIT ?"
    )
    return Query(sql, (device_id, account_id, limit), decoder(Event))


class Tally(msgspec.Struct, frozen=True):
    """How many messages of one direction fell into a span of time; `begins_at` ms."""

    begins_at: int
    from_me: bool
    messages: int


TALLIED = 50_000
# Row numbers rise with time: the first row of the time asked for is found by halving.
_SINCE = (
    "WITH RECURSIVE halves(lo, hi) AS ("
    " SELECT max(coalesce(min(no), 1), coalesce(max(no), 0) - ?), coalesce(max(no), 0) + 1 FROM messages"
    " UNION ALL SELECT"
    "  CASE WHEN coalesce((SELECT created_at FROM messages WHERE no >= (lo + hi) / 2 ORDER BY no LIMIT 1), ?)"
    "   < ? THEN (lo + hi) / 2 + 1 ELSE lo END,"
    "  CASE WHEN coalesce((SELECT created_at FROM messages WHERE no >= (lo + hi) / 2 ORDER BY no LIMIT 1), ?)"
    "   < ? THEN hi ELSE (lo + hi) / 2 END"
    " FROM halves WHERE lo < hi) SELECT max(lo) FROM halves"
)


def first_since(since_ms: int) -> Query[int]:
    """The row number where the messages of the time since then begin, TALLIED from the newest at most."""
    return count(_SINCE, TALLIED, since_ms, since_ms, since_ms, since_ms)


def tallies(account_id: str, device_id: str, first_no: int, since_ms: int, span_ms: int) -> Query[Tally]:
    """The device's messages since then, from row `first_no` on, counted by spans of time and direction."""
    sql = (
        "SELECT created_at / ?1 * ?1, from_me, count(*) FROM messages INDEXED BY messages_account "
        "WHERE account_id = ?2 AND no >= ?3 AND device_id = ?4 AND created_at >= ?5 GROUP BY 1, 2"
    )
    args = (span_ms, account_id, first_no, device_id, since_ms)
    return Query(sql, args, lambda row: Tally(row[0], bool(row[1]), row[2]))


def accepted_by_minute(account_id: str, device_id: str, first_no: int, since_ms: int) -> Query[Tally]:
    """The messages that programs and people sent through the device since then, counted by the minute."""
    sql = (
        "SELECT created_at / 60000 * 60000, 1, count(*) FROM messages INDEXED BY messages_account "
        "WHERE account_id = ? AND no >= ? AND device_id = ? AND created_at >= ? AND via_api = 1 GROUP BY 1"
    )
    args = (account_id, first_no, device_id, since_ms)
    return Query(sql, args, lambda row: Tally(row[0], True, row[2]))
