"""The devices table, and what is known of each device's addresses: LID–phone pairs and chat names."""

from typing import Any

from appliance.model.device import Device
from appliance.store import chats
from appliance.store.database import Transaction
from appliance.store.query import Query, columns, count, decoder, insertion, parameters, select

_INSERT = insertion(Device, "devices")
_UPDATABLE = tuple(
    n for n in Device.__struct_fields__ if n not in {"id", "account_id", "created_at", "sandbox"}
)
_UPDATE = f"UPDATE devices SET {', '.join(f'{n} = ?' for n in _UPDATABLE)} WHERE id = ?"  # noqa: S608


def insert(tx: Transaction, device: Device) -> None:
    tx.run(_INSERT, *parameters(device))


def save(tx: Transaction, device: Device) -> None:
    """Write every changeable column of the device."""
    frozen = ("id", "account_id", "created_at", "sandbox")
    tx.run(_UPDATE, *parameters(device, frozen), device.id)


def by_id(account_id: str, device_id: str) -> Query[Device]:
    return select(Device, "devices", "account_id = ? AND id = ?", account_id, device_id)


def of_any_account(device_id: str) -> Query[Device]:
    """The device whoever owns it: for the engine's events, which carry no account."""
    return select(Device, "devices", "id = ? AND account_id IS NOT NULL", device_id)


def everywhere() -> Query[Device]:
    """Every device of every account: for starting up."""
    return select(Device, "devices", "account_id IS NOT NULL ORDER BY no")


def is_there(device_id: str) -> Query[int]:
    """Whether there is a row of the device, also when it was deleted and is being cleared away."""
    return count("SELECT count(*) FROM devices WHERE id = ?", device_id)


def was_imported(export_id: str) -> Query[int]:
    """Whether that file of a moved device was taken in here."""
    return count("SELECT count(*) FROM imports WHERE export_id = ?", export_id)


def note_import(tx: Transaction, export_id: str, device_id: str, now_ms: int) -> None:
    """Remember that the file was taken in."""
    tx.run("INSERT INTO imports VALUES (?, ?, ?)", export_id, device_id, now_ms)


def page(account_id: str, before: int | None, limit: int) -> Query[tuple[int, Device]]:
    """Newest first, with each device's row number for the cursor."""
    decode = decoder(Device)
    sql = (
        f"SELECT no, {columns(Device)} FROM devices WHERE account_id = ? AND no < ? ORDER BY no DESC LIMIT ?"  # noqa: S608
    )
    below = before if before is not None else 1 << 62
    return Query(sql, (account_id, below, limit), lambda row: (int(row[0]), decode(row[1:])))


def how_many(account_id: str) -> Query[int]:
    return count("SELECT count(*) FROM devices WHERE account_id = ?", account_id)


def applied_up_to(device_id: str, incarnation: int) -> Query[int]:
    """The highest event number of that worker run that has been applied."""
    return count(
        "SELECT seq FROM worker_marks WHERE device_id = ? AND incarnation = ?", device_id, incarnation
    )


def mark_applied(tx: Transaction, device_id: str, incarnation: int, seq: int) -> None:
    """Remember how far a worker's events have been applied; marks of the runs before the last few are
    dropped."""
    tx.run(
        "INSERT INTO worker_marks (device_id, incarnation, seq) VALUES (?, ?, ?) "
        "ON CONFLICT (device_id, incarnation) DO UPDATE SET seq = excluded.seq",
        device_id,
        incarnation,
        seq,
    )
    if seq == 1:
        tx.run(
            "DELETE FROM worker_marks WHERE device_id = ?1 AND incarnation NOT IN "
            "(SELECT incarnation FROM worker_marks WHERE device_id = ?1 ORDER BY incarnation DESC LIMIT 8)",
            device_id,
        )


def phone_of(device_id: str, lid: str) -> Query[str]:
    sql = "SELECT phone_jid FROM jid_pairs WHERE device_id = ? AND lid = ?"
    return Query(sql, (device_id, lid), _first)


def lid_of(device_id: str, phone_jid: str) -> Query[str]:
    sql = "SELECT lid FROM jid_pairs WHERE device_id = ? AND phone_jid = ?"
    return Query(sql, (device_id, phone_jid), _first)


# What stands under the phone already stays under the LID: it is the same message.
_MOVE_CHAT = """
UPDATE messages SET chat = ?3 WHERE device_id = ?1 AND chat = ?2 AND NOT EXISTS (
    SELECT 1 FROM messages known INDEXED BY messages_wa
    WHERE substr(known.wa_id, -8) = substr(messages.wa_id, -8) AND known.wa_id = messages.wa_id
    AND known.device_id = ?1 AND known.chat = ?3 AND known.from_me = messages.from_me
    AND coalesce(known.participant, '') = coalesce(messages.participant, ''))
"""


def learn_pair(tx: Transaction, device_id: str, lid: str, phone_jid: str) -> bool:
    """Remember that the LID is that phone; True when it is news, and then the chats kept under the LID
    move over."""
    if tx.one(phone_of(device_id, lid)) == phone_jid:
        return False
    tx.run(
        "INSERT INTO jid_pairs (device_id, lid, phone_jid) VALUES (?, ?, ?) "
        "ON CONFLICT (device_id, lid) DO UPDATE SET phone_jid = excluded.phone_jid",
        device_id,
        lid,
        phone_jid,
    )
    tx.run(_MOVE_CHAT, device_id, lid, phone_jid)
    for chat in (lid, phone_jid):
        chats.find_newest(tx, device_id, chat)
    return True


def name_chat(tx: Transaction, device_id: str, chat: str, name: str) -> None:
    tx.run(
        "INSERT INTO chat_names (device_id, chat, name) VALUES (?, ?, ?) "
        "ON CONFLICT (device_id, chat) DO UPDATE SET name = excluded.name",
        device_id,
        chat,
        name,
    )


def chat_name(device_id: str, chat: str) -> Query[str]:
    return Query("SELECT name FROM chat_names WHERE device_id = ? AND chat = ?", (device_id, chat), _first)


def _first(row: Any) -> str:
    return str(row[0])
