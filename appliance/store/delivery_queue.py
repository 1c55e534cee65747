"""The deliveries table as the delivery worker sees it: a durable queue.

A row is claimed, tried outside any transaction, and then recorded: the attempt and the row's next state in
one transaction. What is claimed only its worker knows, and leaves out of every question (`taken`, row
numbers): there is one worker, and a row that it held when it died is as it was.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from appliance.model.webhook import Attempt, DeliveryStatus, EndpointStatus
from appliance.store.database import Transaction
from appliance.store.query import Query, Row

_ROW = (
    "SELECT d.no, d.endpoint_id, d.device_id, d.event_no, d.event_type, d.attempts, d.step, "
    "d.failing_since, d.due_at, e.body, e.crc, coalesce(e.created_at, d.created_at) "
    "FROM deliveries d INDEXED BY {index} LEFT JOIN events e ON e.no = d.event_no "
    "WHERE d.endpoint_id = ? AND d.status = 'pending' AND d.no NOT IN (SELECT value FROM json_each(?)) "
)
# By name, because SQLite would rather go over all that an endpoint ever got than use a partial index.
_FRESH, _DUE = _ROW.format(index="deliveries_fresh"), _ROW.format(index="deliveries_due")
_WORK = """
SELECT id, status, failing_since, probe_at, catching_up,
    EXISTS (SELECT 1 FROM deliveries d INDEXED BY deliveries_fresh
        WHERE d.endpoint_id = e.id AND d.status = 'pending' AND d.attempts = 0
        AND d.no NOT IN (SELECT value FROM json_each(?1))),
    (SELECT min(d.due_at) FROM deliveries d INDEXED BY deliveries_due
        WHERE d.endpoint_id = e.id AND d.status = 'pending' AND d.attempts > 0
        AND d.no NOT IN (SELECT value FROM json_each(?1)))
FROM endpoints e WHERE e.enabled = 1 AND e.status <> 'stopped'
"""
CLAMP = "UPDATE deliveries SET due_at = ? WHERE status = 'pending' AND attempts > 0 AND due_at > ?"
_RECORD = (
    "UPDATE deliveries SET status = ?, attempts = ?, step = ?, due_at = ?, failing_since = ?, "
    "held = ?, last_status = ?, last_error = ?, finished_at = ? WHERE no = ?"
)
# SELECT, because the endpoint may have been deleted meanwhile, and its deliveries with it.
_ATTEMPT = (
    "INSERT INTO attempts (delivery_no, n, at, duration_ms, status, error, answer) "
    "SELECT no, ?, ?, ?, ?, ?, ? FROM deliveries WHERE no = ?"
)


class Work(msgspec.Struct, frozen=True):
    """What waits at one endpoint: first attempts (`fresh`), and when the next other one is `due_at` (ms)."""

    endpoint_id: str
    status: EndpointStatus
    failing_since: int | None
    probe_at: int | None
    catching_up: bool
    fresh: bool
    due_at: int | None


class Claimed(msgspec.Struct):
    """A claimed delivery with its event's body (None when the event is gone). Times are ms.

    `probe`: tried before its time, only to learn whether the endpoint is well again.
    """

    no: int
    endpoint_id: str
    device_id: str
    event_no: int
    event_type: str
    attempts: int
    step: int
    failing_since: int | None
    due_at: int
    body: bytes | None
    crc: int | None
    event_at: int
    probe: bool = False


class Recorded(msgspec.Struct):
    """What became of an attempt: the row's next state. `held` as in Delivery."""

    attempt: Attempt
    endpoint_id: str
    status: DeliveryStatus
    step: int
    due_at: int
    failing_since: int | None = None
    held: bool = False
    endpoint: Literal["well", "failing", "stopped", "unknown"] = "unknown"
    reason: str | None = None


def work(taken: Iterable[int]) -> Query[Work]:
    """Every endpoint that may be sent to, with what waits for it. A few µs an endpoint."""
    return Query(_WORK, (_json(taken),), _work)


def fresh(endpoint_id: str, limit: int, taken: Iterable[int]) -> Query[Claimed]:
    """Deliveries never tried, in the order of their events; they are due whatever the clock says."""
    sql = f"{_FRESH} AND d.attempts = 0 ORDER BY d.no LIMIT ?"
    return Query(sql, (endpoint_id, _json(taken), limit), _claimed)


def due(endpoint_id: str, now_ms: int, limit: int, taken: Iterable[int]) -> Query[Claimed]:
    """Deliveries whose next attempt is due, the longest overdue first."""
    sql = f"{_DUE} AND d.attempts > 0 AND d.due_at <= ? ORDER BY d.due_at, d.no LIMIT ?"
    return Query(sql, (endpoint_id, _json(taken), now_ms, limit), _claimed)


def probe(endpoint_id: str, taken: Iterable[int]) -> Query[Claimed]:
    """The delivery to probe a failing endpoint with: the next one whose time the receiver did not name."""
    sql = f"{_DUE} AND d.attempts > 0 AND d.held = 0 ORDER BY d.due_at, d.no LIMIT 1"
    args = (endpoint_id, _json(taken))
    return Query(sql, args, lambda row: msgspec.structs.replace(_claimed(row), probe=True))


def record(tx: Transaction, done: Recorded) -> None:
    """Write an attempt and what it means for its delivery. A delivery that is gone meanwhile stays gone."""
    attempt = done.attempt
    finished = attempt.at + attempt.duration_ms if done.status is not DeliveryStatus.PENDING else None
    tx.run(
        _RECORD,
        str(done.status),
        attempt.n,
        done.step,
        done.due_at,
        done.failing_since,
        done.held,
        attempt.status,
        attempt.error,
        finished,
        attempt.delivery_no,
    )
    tx.run(
        _ATTEMPT,
        attempt.n,
        attempt.at,
        attempt.duration_ms,
        attempt.status,
        attempt.error,
        attempt.answer,
        attempt.delivery_no,
    )


def make_due(tx: Transaction, endpoint_id: str, now_ms: int, limit: int) -> int:
    """Make up to `limit` waiting deliveries due now, but for those whose receiver named the time."""
    return tx.run(
        "UPDATE deliveries SET due_at = ?2 WHERE no IN (SELECT no FROM deliveries WHERE endpoint_id = ?1 "
        "AND status = 'pending' AND attempts > 0 AND due_at > ?2 AND held = 0 ORDER BY due_at, no LIMIT ?3)",
        endpoint_id,
        now_ms,
        limit,
    )


def clamp(tx: Transaction, now_ms: int, furthest_ms: int) -> int:
    """Make due what is due impossibly late, because the clock was set back."""
    return tx.run(CLAMP, now_ms, furthest_ms)


def _json(nos: Iterable[int]) -> str:
    return msgspec.json.encode(list(nos)).decode()


def _work(row: Row) -> Work:
    identity, status, since, probe_at, catching_up, fresh_waits, due_at = row
    return Work(
        identity, EndpointStatus(status), since, probe_at, bool(catching_up), bool(fresh_waits), due_at
    )


def _claimed(row: Row) -> Claimed:
    return Claimed(*row)
