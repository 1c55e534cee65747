"""The chats table: every conversation of a device with its newest message."""

import msgspec

from appliance.model.message import Message, MessageStatus
from appliance.store.database import Transaction
from appliance.store.query import Query, decoder, select

EXCERPT = 200
_TABLES = (
    "FROM chats c JOIN messages m ON m.no = c.last_no "
    "LEFT JOIN chat_names n ON n.device_id = c.device_id AND n.chat = c.chat "
)
_MOVE = (
    "INSERT INTO chats (device_id, chat, account_id, last_no) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (device_id, chat) DO UPDATE SET last_no = excluded.last_no"
)
_NEWEST = "device_id = ? AND chat = ? ORDER BY no DESC LIMIT 1"


class _Newest(msgspec.Struct, frozen=True):
    no: int
    account_id: str


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation as a list shows it: whose it is, and its newest message in short.

    `no` is that message's row number, `id` ours. `name` is the group's subject, or what the other side calls
    itself; None when neither is known. `text` is cut after EXCERPT characters. `timestamp` seconds,
    `created_at` ms.
    """

    device_id: str
    chat: str
    name: str | None
    no: int
    id: str
    participant: str | None
    from_me: bool
    kind: str
    text: str | None
    status: MessageStatus | None
    timestamp: int | None
    created_at: int


_COLUMNS = {
    "device_id": "c.device_id",
    "chat": "c.chat",
    "name": "coalesce(n.name, c.push_name)",
    "text": f"substr(m.text, 1, {EXCERPT})",
}
_SELECT = f"SELECT {', '.join(_COLUMNS.get(f, f'm.{f}') for f in Chat.__struct_fields__)} {_TABLES}"


def page(account_id: str, device_id: str | None, before: int | None, limit: int) -> Query[Chat]:
    """The account's conversations, or one device's, newest first, from the row number `before` downwards."""
    where = "WHERE c.account_id = ? AND c.last_no < ?"
    args: list[str | int] = [account_id, 1 << 62 if before is None else before]
    if device_id is not None:
        where += " AND c.device_id = ?"
        args.append(device_id)
    sql = f"{_SELECT} {where} ORDER BY c.last_no DESC LIMIT ?"
    return Query(sql, (*args, limit), decoder(Chat))


def of(account_id: str, device_id: str, chat: str) -> Query[Chat]:
    """One conversation; no row: nothing was ever written in it, or all of it is gone."""
    sql = f"{_SELECT} WHERE c.account_id = ? AND c.device_id = ? AND c.chat = ?"
    return Query(sql, (account_id, device_id, chat), decoder(Chat))


def move_up(tx: Transaction, message: Message, no: int) -> None:
    """The message, stored as row `no`, is its conversation's newest."""
    tx.run(_MOVE, message.device_id, message.chat, message.account_id, no)


def learn_name(tx: Transaction, device_id: str, chat: str, push_name: str) -> None:
    """Remember what the other side of a conversation calls itself."""
    tx.run(
        "UPDATE chats SET push_name = ?3 WHERE device_id = ?1 AND chat = ?2 AND push_name IS NOT ?3",
        device_id,
        chat,
        push_name,
    )


def find_newest(tx: Transaction, device_id: str, chat: str) -> None:
    """After messages were moved or deleted: the conversation's newest of those that are left, or none."""
    left = tx.one(select(_Newest, "messages", _NEWEST, device_id, chat))
    if left is None:
        tx.run("DELETE FROM chats WHERE device_id = ? AND chat = ?", device_id, chat)
    else:
        tx.run(_MOVE, device_id, chat, left.account_id, left.no)
