"""The deliveries table as its owner sees it: what was told to which endpoint, attempt by attempt; replays."""

import msgspec

from appliance.model.event import EventType
from appliance.model.webhook import Attempt, Delivery, DeliveryStatus
from appliance.store.database import Transaction
from appliance.store.query import Query, count, insertion, parameters, select

_INSERT = insertion(Delivery, "deliveries", skip=("no",))
_REQUEUE = (
    "UPDATE deliveries SET status = 'pending', step = 0, held = 0, due_at = ?1, failing_since = NULL, "
    "finished_at = NULL WHERE no = ?2"
)
_WAITING = "SELECT count(*) FROM deliveries WHERE status = 'pending'"


class Filters(msgspec.Struct, frozen=True):
    """What a list of deliveries is narrowed to; None does not narrow. `since` (inclusive) and `until`
    (exclusive) are ms of `created_at`."""

    status: DeliveryStatus | None = None
    event: EventType | None = None
    since: int | None = None
    until: int | None = None


def insert(tx: Transaction, delivery: Delivery) -> int:
    """Queue a delivery; returns its row number."""
    return tx.insert(_INSERT, *parameters(delivery, ("no",)))


def by_id(account_id: str, endpoint_id: str, delivery_id: str) -> Query[Delivery]:
    where = "account_id = ? AND endpoint_id = ? AND id = ?"
    return select(Delivery, "deliveries", where, account_id, endpoint_id, delivery_id)


def of_event(account_id: str, event_no: int) -> Query[Delivery]:
    """The deliveries that an event became."""
    return select(Delivery, "deliveries", "account_id = ? AND event_no = ? ORDER BY no", account_id, event_no)


def page(
    account_id: str, endpoint_id: str, filters: Filters, before: int | None, limit: int
) -> Query[Delivery]:
    """Newest first."""
    where, args = _narrowed(account_id, endpoint_id, filters)
    where += " AND no < ? ORDER BY no DESC LIMIT ?"
    return select(Delivery, "deliveries", where, *args, 1 << 62 if before is None else before, limit)


def attempts_of(account_id: str, delivery_id: str) -> Query[Attempt]:
    """Every POST of the delivery, in order."""
    where = "delivery_no = (SELECT no FROM deliveries WHERE account_id = ? AND id = ?) ORDER BY n"
    return select(Attempt, "attempts", where, account_id, delivery_id)


def waiting_for(account_id: str, device_id: str) -> Query[int]:
    """How many deliveries of the device's events are not yet through: its webhook backlog.

    Two counts, because each kind of waiting has an index of its own.
    """
    mine = "AND account_id = ? AND device_id = ?"
    sql = f"SELECT ({_WAITING} AND attempts = 0 {mine}) + ({_WAITING} AND attempts > 0 {mine})"
    return count(sql, account_id, device_id, account_id, device_id)


def requeue(tx: Transaction, no: int, now_ms: int) -> None:
    """Make the delivery due now, whatever became of it."""
    tx.run(_REQUEUE, now_ms, no)


def highest() -> Query[int]:
    """The newest row number of all; no row: there is none."""
    return count("SELECT no FROM deliveries ORDER BY no DESC LIMIT 1")


def replayable(
    account_id: str, endpoint_id: str, filters: Filters, rows: tuple[int, int], limit: int
) -> Query[int]:
    """Row numbers of the deliveries after the first of `rows` up to the second, oldest first, whose event is
    still kept."""
    where, args = _narrowed(account_id, endpoint_id, filters)
    sql = (
        f"SELECT no FROM deliveries WHERE {where} AND no > ? AND no <= ? "  # noqa: S608
        "AND EXISTS (SELECT 1 FROM events e WHERE e.no = deliveries.event_no) ORDER BY no LIMIT ?"
    )
    return count(sql, *args, *rows, limit)


def _narrowed(account_id: str, endpoint_id: str, filters: Filters) -> tuple[str, list[str | int]]:
    where, args = "account_id = ? AND endpoint_id = ?", [account_id, endpoint_id]
    more: tuple[tuple[str, str | int | None], ...] = (
        (" AND status = ?", filters.status and str(filters.status)),
        (" AND event_type = ?", filters.event and str(filters.event)),
        (" AND created_at >= ?", filters.since),
        (" AND created_at < ?", filters.until),
    )
    values: list[str | int] = [*args]
    for clause, value in more:
        if value is not None:
            where += clause
            values.append(value)
    return where, values
