"""The messages table: what was received, what is to be sent, and the receipts that move a message on."""

import msgspec

from appliance.model.message import WAITING, Message, MessageStatus
from appliance.store import chats
from appliance.store.database import Transaction
from appliance.store.query import Query, insertion, parameters, select

NEWEST = 50_000
_BY_WA_ID = "messages INDEXED BY messages_wa"
# Their index holds only the ends of the ids; without the + SQLite would put the argument in the column's
# place, and look through all of it.
_WA_ID = "wa_id IS NOT NULL AND substr(wa_id, -8) = substr(?1, -8) AND +wa_id = ?1"
"""WhatsApp's id is the first argument; several senders may use one id."""
_INSERT = insertion(Message, "messages", skip=("no",))
_BY_EITHER_ID = (
    "no = coalesce((SELECT no FROM messages WHERE id = ?1 AND account_id = ?2 "  # noqa: S608
    "AND device_id NOT IN (SELECT id FROM devices WHERE account_id IS NULL)), "
    f"(SELECT max(no) FROM {_BY_WA_ID} WHERE {_WA_ID} "
    "AND device_id IN (SELECT id FROM devices WHERE account_id = ?2)))"
)
_ON_DEVICE = (
    "no = (SELECT max(no) FROM (SELECT no FROM messages WHERE id = ?1 AND device_id = ?2 "  # noqa: S608
    f"UNION ALL SELECT no FROM {_BY_WA_ID} WHERE {_WA_ID} AND device_id = ?2))"
)
# The partial index is only used when its own condition stands in the query word for word.
_IS_WAITING = "status IN ('queued', 'sending')"


class Waiting(msgspec.Struct, frozen=True):
    """How many messages of a device wait to be sent."""

    device_id: str
    messages: int


def insert(tx: Transaction, message: Message) -> int:
    """Store a message; returns its row number."""
    no = tx.insert(_INSERT, *parameters(message, ("no",)))
    chats.move_up(tx, message, no)
    return no


def by_id(account_id: str, any_id: str) -> Query[Message]:
    """The message with our id, or with WhatsApp's (the newest, should several chats use it)."""
    return select(Message, "messages", _BY_EITHER_ID, any_id, account_id)


def by_no(no: int) -> Query[Message]:
    return select(Message, "messages", "no = ?", no)


def by_our_id(message_id: str) -> Query[Message]:
    """The message whoever owns it: for the engine's events, which carry no account."""
    return select(Message, "messages", "id = ?", message_id)


def on_device(device_id: str, any_id: str) -> Query[Message]:
    """The device's message with our id or WhatsApp's."""
    return select(Message, "messages", _ON_DEVICE, any_id, device_id)


def repeat_of(message: Message) -> Query[Message]:
    """The stored message of which this one is a repeat: the same chat, author and WhatsApp id."""
    where = f"{_WA_ID} AND device_id = ?2 AND chat = ?3 AND coalesce(participant, '') = ?4 AND from_me = ?5"
    args = (message.wa_id, message.device_id, message.chat, message.participant or "", message.from_me)
    return select(Message, _BY_WA_ID, where, *args)


def ours(device_id: str, wa_id: str) -> Query[Message]:
    """The message this device's account sent under that WhatsApp id."""
    return select(Message, _BY_WA_ID, f"{_WA_ID} AND device_id = ?2 AND from_me = 1", wa_id, device_id)


def next_queued(device_id: str) -> Query[Message]:
    where = f"device_id = ? AND {_IS_WAITING} AND status = 'queued' ORDER BY no LIMIT 1"
    return select(Message, "messages INDEXED BY messages_waiting", where, device_id)


def queued(device_id: str) -> Query[Message]:
    where = f"device_id = ? AND {_IS_WAITING} AND status = 'queued' ORDER BY no"
    return select(Message, "messages INDEXED BY messages_waiting", where, device_id)


def expired(now_ms: int, limit: int) -> Query[Message]:
    """Messages that waited longer than they were meant to."""
    where = "status = 'queued' AND expires_at <= ? ORDER BY no LIMIT ?"
    return select(
        Message,
        "messages INDEXED BY messages_waiting",
        f"status IN ('queued', 'sending') AND {where}",
        now_ms,
        limit,
    )


def interrupted() -> Query[Message]:
    """Messages that were being sent when the process ended."""
    where = "status IN ('queued', 'sending') AND status = 'sending' ORDER BY no"
    return select(Message, "messages INDEXED BY messages_waiting", where)


def waiting() -> Query[Waiting]:
    sql = (
        "SELECT device_id, count(*) FROM messages INDEXED BY messages_waiting "
        "WHERE status IN ('queued', 'sending') GROUP BY device_id"
    )
    return Query(sql, (), lambda row: Waiting(row[0], row[1]))


def untold() -> Query[Message]:
    """Messages whose file was still being fetched when the process ended."""
    return select(Message, "messages INDEXED BY messages_untold", "told = 0 ORDER BY no")


def accepted_since(since_ms: int) -> Query[tuple[str, int]]:
    """(device, time in ms) of every message accepted from the API since then: the rate limits are rebuilt
    from it.

    It looks at the newest rows only, which spares every send an index of its own.
    """
    sql = (
        "SELECT device_id, created_at FROM messages WHERE no > (SELECT max(no) FROM messages) - ? "
        "AND via_api = 1 AND created_at >= ? ORDER BY created_at"
    )
    return Query(sql, (NEWEST, since_ms), lambda row: (row[0], row[1]))


def save_state(tx: Transaction, message: Message) -> None:
    """Write what sending changes; the engine's note of what to send goes once the message no longer waits."""
    tx.run(
        "UPDATE messages SET status = ?, wa_id = ?, timestamp = ?, error_code = ?, error_message = ?, "
        "outgoing = ?, details = ? "
        "WHERE no = ?",
        message.status and str(message.status),
        message.wa_id,
        message.timestamp,
        message.error_code,
        message.error_message,
        message.outgoing if message.status in WAITING else None,
        message.details,
        message.no,
    )


def replace_content(tx: Transaction, message: Message) -> None:
    """An undecryptable message became readable: everything but its identity changes."""
    tx.run(
        "UPDATE messages SET kind = ?, type = ?, text = ?, content = ?, details = ?, media_id = ?, "
        "filename = ?, told = ? WHERE no = ?",
        message.kind,
        message.type,
        message.text,
        message.content,
        message.details,
        message.media_id,
        message.filename,
        message.told,
        message.no,
    )


def mark_told(tx: Transaction, message_no: int) -> None:
    tx.run("UPDATE messages SET told = 1 WHERE no = ?", message_no)


def receipt_of(message_no: int, participant: str) -> Query[MessageStatus]:
    sql = "SELECT status FROM receipts WHERE message_no = ? AND participant = ?"
    return Query(sql, (message_no, participant), lambda row: MessageStatus(row[0]))


def save_receipt(
    tx: Transaction, message_no: int, participant: str, status: MessageStatus, timestamp: int
) -> None:
    tx.run(
        "INSERT INTO receipts (message_no, participant, status, timestamp) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (message_no, participant) DO UPDATE SET status = excluded.status, timestamp = "
        "excluded.timestamp",
        message_no,
        participant,
        str(status),
        timestamp,
    )


class WaitingReceipt(msgspec.Struct, frozen=True):
    """A receipt that came before its message was known."""

    participant: str
    status: MessageStatus
    timestamp: int


def keep_receipt(tx: Transaction, device_id: str, wa_id: str, receipt: WaitingReceipt, now_ms: int) -> None:
    tx.run(
        "INSERT OR IGNORE INTO waiting_receipts (device_id, wa_id, participant, status, timestamp, "
        "created_at) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        device_id,
        wa_id,
        receipt.participant,
        str(receipt.status),
        receipt.timestamp,
        now_ms,
    )


def take_receipts(tx: Transaction, device_id: str, wa_id: str) -> list[WaitingReceipt]:
    """The receipts that waited for that message, in the ladder's order, and no longer wait."""
    found = tx.all(
        select(
            WaitingReceipt,
            "waiting_receipts",
            "device_id = ? AND wa_id = ? ORDER BY timestamp, status",
            device_id,
            wa_id,
        )
    )
    if found:
        tx.run("DELETE FROM waiting_receipts WHERE device_id = ? AND wa_id = ?", device_id, wa_id)
    return found


class Idempotent(msgspec.Struct, frozen=True):
    """A key that was used: what for, and which message it made."""

    fingerprint: bytes
    message_id: str


def idempotent(account_id: str, key: str) -> Query[Idempotent]:
    """What the key was used for, as long as it is kept: its age is retention's business, because a clock that
    is set ahead must not make a repeat look new."""
    return select(Idempotent, "idempotency", "account_id = ? AND key = ?", account_id, key)


def remember_key(tx: Transaction, account_id: str, key: str, used: Idempotent, now_ms: int) -> None:
    tx.run(
        "INSERT OR REPLACE INTO idempotency (account_id, key, fingerprint, message_id, created_at) VALUES "
        "(?, ?, ?, ?, ?)",
        account_id,
        key,
        used.fingerprint,
        used.message_id,
        now_ms,
    )


def yield_wa_id(tx: Transaction, message: Message) -> None:
    """Should an echo of our own message have been stored under the same WhatsApp id, the id is the sent
    one's."""
    tx.run(
        f"UPDATE {_BY_WA_ID} SET wa_id = NULL "  # noqa: S608
        f"WHERE {_WA_ID} AND device_id = ?2 AND from_me = 1 AND no <> ?3",
        message.wa_id,
        message.device_id,
        message.no,
    )
