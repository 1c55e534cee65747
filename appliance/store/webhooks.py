"""The endpoints table: where each account wants its events delivered, and how well each place takes them."""

import msgspec

from appliance.model.webhook import Endpoint, EndpointStatus
from appliance.store.database import Transaction
from appliance.store.query import Query, columns, decoder, insertion, parameters, select

_INSERT = insertion(Endpoint, "endpoints")
_HEALTH = {"status", "status_reason", "failing_since", "probe_at", "catching_up"}
_CHANGEABLE = tuple(
    n for n in Endpoint.__struct_fields__ if n not in {"id", "account_id", "created_at"} | _HEALTH
)
_SAVE = f"UPDATE endpoints SET {', '.join(f'{n} = ?' for n in _CHANGEABLE)} WHERE id = ?"  # noqa: S608


class Listener(msgspec.Struct, frozen=True):
    """What fan-out looks at: `events` and `filters` are the stored JSON, so that reading stays cheap."""

    id: str
    events: bytes
    filters: bytes


def insert(tx: Transaction, endpoint: Endpoint) -> None:
    tx.run(_INSERT, *parameters(endpoint))


def save(tx: Transaction, endpoint: Endpoint) -> None:
    """Write what its owner can change; its health is not among it."""
    fixed = tuple(n for n in Endpoint.__struct_fields__ if n not in _CHANGEABLE)
    tx.run(_SAVE, *parameters(endpoint, fixed), endpoint.id)


def by_id(account_id: str, endpoint_id: str) -> Query[Endpoint]:
    return select(Endpoint, "endpoints", "account_id = ? AND id = ?", account_id, endpoint_id)


def by_url(account_id: str, url: str) -> Query[Endpoint]:
    """The account's endpoints with that address, the oldest first."""
    return select(Endpoint, "endpoints", "account_id = ? AND url = ? ORDER BY no", account_id, url)


def of_any_account(endpoint_ids: str) -> Query[Endpoint]:
    """The endpoints whose ids stand in the JSON array: for the delivery worker, which serves all accounts."""
    where = "id IN (SELECT value FROM json_each(?)) AND account_id IS NOT NULL"
    return select(Endpoint, "endpoints", where, endpoint_ids)


def page(account_id: str, before: int | None, limit: int) -> Query[tuple[int, Endpoint]]:
    """Newest first, with each endpoint's row number for the cursor."""
    decode = decoder(Endpoint)
    sql = (
        f"SELECT no, {columns(Endpoint)} FROM endpoints "  # noqa: S608
        "WHERE account_id = ? AND no < ? ORDER BY no DESC LIMIT ?"
    )
    below = before if before is not None else 1 << 62
    return Query(sql, (account_id, below, limit), lambda row: (int(row[0]), decode(row[1:])))


def listening(account_id: str, device_id: str) -> Query[Listener]:
    """The account's endpoints that take events of the device at all."""
    sql = (
        "SELECT id, events, filters FROM endpoints WHERE account_id = ? AND enabled = 1 "
        "AND status <> 'stopped' AND (device_id IS NULL OR device_id = ?)"
    )
    return Query(sql, (account_id, device_id), lambda row: Listener(*row))


def mark_failing(tx: Transaction, endpoint_id: str, now_ms: int, probe_at: int) -> None:
    """An attempt did not get through; `probe_at` is the latest time of the next one."""
    tx.run(
        "UPDATE endpoints SET status = 'failing', failing_since = coalesce(failing_since, ?), probe_at = ?, "
        "catching_up = 0 WHERE id = ? AND status <> 'stopped'",
        now_ms,
        probe_at,
        endpoint_id,
    )


def mark_well(tx: Transaction, endpoint_id: str, outage_began_before: int) -> bool:
    """An attempt got through; True when the endpoint was failing. After an outage that began before that time
    (ms), the backlog is made due."""
    changed = tx.run(
        "UPDATE endpoints SET status = 'ok', catching_up = coalesce(failing_since <= ?, 0), "
        "failing_since = NULL, probe_at = NULL WHERE id = ? AND status = 'failing'",
        outage_began_before,
        endpoint_id,
    )
    return changed == 1


def mark_stopped(tx: Transaction, endpoint_id: str, reason: str) -> None:
    tx.run(
        "UPDATE endpoints SET status = 'stopped', status_reason = ?, failing_since = NULL, probe_at = NULL, "
        "catching_up = 0 WHERE id = ?",
        reason,
        endpoint_id,
    )


def restart(tx: Transaction, endpoint_id: str) -> None:
    """Begin anew, after its owner enabled it or gave another address: what waits is made due."""
    tx.run(
        "UPDATE endpoints SET status = ?, status_reason = NULL, failing_since = NULL, probe_at = NULL, "
        "catching_up = 1 WHERE id = ?",
        str(EndpointStatus.OK),
        endpoint_id,
    )


def shift(tx: Transaction, ahead_ms: int) -> None:
    """Move the times of failing endpoints with a clock that was set ahead."""
    tx.run(
        "UPDATE endpoints SET failing_since = failing_since + ?1, probe_at = probe_at + ?1 "
        "WHERE status = 'failing'",
        ahead_ms,
    )


def skip_absence(tx: Transaction, now_ms: int, late_ms: int) -> None:
    """Leave the time in which nobody ran out of how long endpoints have been failing: those that should have
    been probed more than `late_ms` ago were not."""
    tx.run(
        "UPDATE endpoints SET failing_since = failing_since + ?1 - probe_at, probe_at = ?1 "
        "WHERE status = 'failing' AND probe_at < ?1 - ?2",
        now_ms,
        late_ms,
    )


def clamp(tx: Transaction, now_ms: int, probe_at: int) -> None:
    """No endpoint has been failing since later than now, nor is probed later than `probe_at`, although the
    clock was set back."""
    tx.run(
        "UPDATE endpoints SET failing_since = min(failing_since, ?), probe_at = min(probe_at, ?) "
        "WHERE status = 'failing'",
        now_ms,
        probe_at,
    )


def caught_up(tx: Transaction, endpoint_id: str) -> None:
    tx.run("UPDATE endpoints SET catching_up = 0 WHERE id = ?", endpoint_id)
