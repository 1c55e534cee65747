"""Devices and webhooks that were deleted: hidden at once, while their rows go a few at a time.

What has no account any more is found by nobody, whatever crash comes between; the last row to go is its own.
"""

from appliance.store.database import Transaction
from appliance.store.query import Query, Row, count

HIDDEN = "SELECT id FROM devices WHERE account_id IS NULL"
_ENDPOINT = "SELECT id FROM endpoints WHERE account_id IS NULL ORDER BY no LIMIT 1"
_OLDEST_EVENTS = "SELECT no FROM events WHERE device_id = ?1 ORDER BY no LIMIT ?2"
_WAITING = (("messages_waiting", "status IN ('queued', 'sending')"), ("messages_untold", "told = 0"))
_BELONGINGS = (
    ("messages", "no"),
    ("media", "id"),
    ("chats", "device_id, chat"),
    ("jid_pairs", "device_id, lid"),
    ("waiting_receipts", "device_id, wa_id, participant, status"),
)
"""Tables that may have very many rows of one device, and their keys; the others go with the device's row."""


def hide_device(tx: Transaction, account_id: str, device_id: str) -> None:
    """Nothing answers for the device any more, nor for its webhooks; nothing of it is sent, fetched or told
    any more."""
    mine = "account_id = ? AND device_id = ?"
    tx.run(f"UPDATE endpoints SET account_id = NULL, enabled = 0 WHERE {mine}", account_id, device_id)  # noqa: S608
    for index, what in _WAITING:
        tx.run(f"DELETE FROM messages INDEXED BY {index} WHERE device_id = ? AND {what}", device_id)  # noqa: S608
    tx.run("DELETE FROM chats WHERE device_id = ?", device_id)
    tx.run("DELETE FROM dead_letters WHERE device_id = ?", device_id)
    tx.run(
        "UPDATE devices SET account_id = NULL, wanted = 0 WHERE account_id = ? AND id = ?",
        account_id,
        device_id,
    )


def hide_endpoint(tx: Transaction, account_id: str, endpoint_id: str) -> bool:
    """The webhook is not found any more, and nothing is delivered to it; False when there is none."""
    sql = "UPDATE endpoints SET account_id = NULL, enabled = 0 WHERE account_id = ? AND id = ?"
    return tx.run(sql, account_id, endpoint_id) == 1


def hide_endpoints(tx: Transaction, account_id: str) -> None:
    """`hide_endpoint` for all of an account."""
    tx.run("UPDATE endpoints SET account_id = NULL, enabled = 0 WHERE account_id = ?", account_id)


def hidden_devices() -> Query[str]:
    """The deleted devices whose rows are not all gone yet."""
    return Query(HIDDEN, (), _first)


def purge(tx: Transaction, limit: int) -> int:
    """Delete up to about so many rows of what is hidden; returns how many, 0 when nothing is left."""
    if endpoint_id := tx.one(Query(_ENDPOINT, (), _first)):
        return _purge_endpoint(tx, endpoint_id, limit)
    if device_id := tx.one(Query(f"{HIDDEN} ORDER BY no LIMIT 1", (), _first)):
        return _purge_device(tx, device_id, limit)
    return 0


def _purge_endpoint(tx: Transaction, endpoint_id: str, limit: int) -> int:
    oldest = "SELECT no FROM deliveries WHERE endpoint_id = ? ORDER BY no LIMIT ?"
    gone = tx.run(f"DELETE FROM deliveries WHERE no IN ({oldest})", endpoint_id, limit)  # noqa: S608
    return gone or tx.run("DELETE FROM endpoints WHERE id = ?", endpoint_id)


def _purge_device(tx: Transaction, device_id: str, limit: int) -> int:
    """Events first, with what they became: they are told as long as they are there."""
    tx.run(f"DELETE FROM deliveries WHERE event_no IN ({_OLDEST_EVENTS})", device_id, limit)  # noqa: S608
    if gone := tx.run(f"DELETE FROM events WHERE no IN ({_OLDEST_EVENTS})", device_id, limit):  # noqa: S608
        return gone
    for table, key in _BELONGINGS:
        some = f"SELECT {key} FROM {table} WHERE device_id = ? LIMIT ?"  # noqa: S608
        if gone := tx.run(f"DELETE FROM {table} WHERE ({key}) IN ({some})", device_id, limit):  # noqa: S608
            return gone
    return tx.run("DELETE FROM devices WHERE id = ?", device_id)


def left() -> Query[int]:
    """How many deleted devices and webhooks still have rows."""
    return count(f"SELECT (SELECT count(*) FROM ({HIDDEN})) + (SELECT count(*) FROM ({_ENDPOINT}))")  # noqa: S608


def _first(row: Row) -> str:
    return str(row[0])
