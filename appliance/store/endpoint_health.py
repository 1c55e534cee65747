"""How well endpoints take their deliveries: figures over the newest, so that a busy one costs no more."""

import msgspec

from appliance.store.query import Query, count

NEWEST = 5_000
"""How many of an endpoint's deliveries are looked at."""


class Tally(msgspec.Struct, frozen=True):
    """Deliveries of a span of time: `delivered`, `dead`, and those that failed and will be tried again."""

    delivered: int
    dead: int
    retrying: int


class Tried(msgspec.Struct, frozen=True):
    """One attempt: when (ms), how long, and whether it got through."""

    at: int
    duration_ms: int
    delivered: bool


class Failure(msgspec.Struct, frozen=True):
    """The newest delivery that did not get through: what its last attempt met."""

    status: int | None
    error: str | None


def tally(account_id: str, endpoint_id: str, since_ms: int) -> Query[Tally]:
    """Of the deliveries queued since then, among the newest."""
    sql = (
        "SELECT coalesce(sum(status = 'delivered'), 0), coalesce(sum(status = 'dead'), 0), "  # noqa: S608
        "coalesce(sum(status NOT IN ('delivered', 'dead') AND attempts > 0), 0) "
        f"FROM {_newest('status, attempts, created_at')} WHERE created_at >= ?"
    )
    return Query(sql, (account_id, endpoint_id, NEWEST, since_ms), lambda row: Tally(*row))


def last_failure(account_id: str, endpoint_id: str) -> Query[Failure]:
    """Among the newest; no row: none of them failed."""
    sql = (
        "SELECT last_status, last_error FROM "  # noqa: S608
        f"{_newest('no, status, attempts, last_status, last_error')} "
        "WHERE status <> 'delivered' AND attempts > 0 ORDER BY no DESC LIMIT 1"
    )
    return Query(sql, (account_id, endpoint_id, NEWEST), lambda row: Failure(*row))


def backlog(account_id: str, endpoint_id: str) -> Query[int]:
    """How many deliveries wait: two counts, because each kind of waiting has an index of its own."""
    waiting = (
        "SELECT count(*) FROM deliveries WHERE endpoint_id = ?2 AND status = 'pending' AND account_id = ?1"
    )
    return count(
        f"SELECT ({waiting} AND attempts = 0) + ({waiting} AND attempts > 0)", account_id, endpoint_id
    )


def tried(account_id: str, endpoint_id: str, since_ms: int) -> Query[Tried]:
    """Every attempt since then of the newest deliveries, in no particular order."""
    sql = (
        "SELECT a.at, a.duration_ms, d.status = 'delivered' AND a.n = d.attempts FROM "  # noqa: S608
        f"{_newest('no, status, attempts')} d JOIN attempts a ON a.delivery_no = d.no WHERE a.at >= ?"
    )
    args = (account_id, endpoint_id, NEWEST, since_ms)
    return Query(sql, args, lambda row: Tried(row[0], row[1], bool(row[2])))


def _newest(names: str) -> str:
    return (
        f"(SELECT {names} FROM deliveries WHERE account_id = ? AND endpoint_id = ? "  # noqa: S608
        "ORDER BY no DESC LIMIT ?)"
    )
