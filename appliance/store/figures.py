"""Counts over all accounts, for whoever runs the gateway."""

import msgspec

from appliance.store.query import Query, count

COUNTED = 100_000
"""Beyond that many deliveries a count says that many."""

_FRESH = "FROM deliveries INDEXED BY deliveries_fresh WHERE status = 'pending' AND attempts = 0"
_DUE = "FROM deliveries INDEXED BY deliveries_due WHERE status = 'pending' AND attempts > 0"


class Room(msgspec.Struct, frozen=True):
    """How large the database's file is, how much of it is free, and each of its pages, in bytes."""

    file: int
    free: int
    page: int

    @property
    def used(self) -> int:
        return self.file - self.free


def room() -> Query[Room]:
    """The file as the last commit left it; the log beside it is not counted."""
    sql = (
        "SELECT page_count * page_size, freelist_count * page_size, page_size "
        "FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
    )
    return Query(sql, (), lambda row: Room(*row))


def deliveries_waiting() -> Query[int]:
    """How many webhook deliveries are not yet through, COUNTED at most. Each kind of waiting has its own
    index."""
    waiting = f"SELECT 1 {_FRESH} UNION ALL SELECT 1 {_DUE} LIMIT {COUNTED}"
    return count(f"SELECT count(*) FROM ({waiting})")  # noqa: S608


class Behind(msgspec.Struct, frozen=True):
    """The endpoints of one `state` (`ok`, `failing`, `stopped` or `disabled`), and since when (ms) the
    delivery that should have been made first has been due; None when none is."""

    state: str
    endpoints: int
    due_since: int | None


def behind(now_ms: int) -> Query[Behind]:
    """How far deliveries are behind at `now_ms`: a look into two indexes for every endpoint."""
    fresh = f"SELECT created_at {_FRESH} AND endpoint_id = e.id ORDER BY no LIMIT 1"
    due = f"SELECT due_at {_DUE} AND endpoint_id = e.id AND due_at <= ?1 ORDER BY due_at LIMIT 1"
    state = "CASE WHEN enabled THEN status ELSE 'disabled' END"
    sql = (
        f"SELECT {state}, count(*), min(min(coalesce(({fresh}), ?2), coalesce(({due}), ?2))) "  # noqa: S608
        "FROM endpoints e WHERE account_id IS NOT NULL GROUP BY 1"
    )
    return Query(sql, (now_ms, _NEVER), lambda row: Behind(row[0], row[1], _none_if_never(row[2])))


class Queue(msgspec.Struct, frozen=True):
    """The message of a device that has waited longest to be sent: accepted `since` (ms)."""

    device_id: str
    since: int


def oldest_waiting(device_ids: list[str]) -> Query[Queue]:
    """For each of those devices that has messages waiting: one look into an index."""
    first = (
        "SELECT no FROM messages INDEXED BY messages_waiting "
        "WHERE device_id = value AND status IN ('queued', 'sending') ORDER BY no LIMIT 1"
    )
    sql = f"SELECT value, created_at FROM json_each(?) JOIN messages ON no = ({first})"  # noqa: S608
    return Query(sql, (msgspec.json.encode(device_ids).decode(),), lambda row: Queue(*row))


_NEVER = 1 << 62


def _none_if_never(at_ms: int) -> int | None:
    return None if at_ms == _NEVER else at_ms


def media_bytes() -> Query[int]:
    """Bytes of the received files that are kept."""
    return count("SELECT coalesce(sum(size), 0) FROM media WHERE state = 'stored'")
