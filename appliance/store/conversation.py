"""One conversation, read a window at a time: its messages, what was said about them later, their files."""

from appliance.model.media import MediaFile
from appliance.model.message import Message
from appliance.store.query import Query, columns, count, decoder

LOOK_AHEAD = 500
"""Among how many following messages the marks of a message are looked for."""
MARKS = ("reaction", "edit", "delete")
_IN_CHAT = "device_id = ? AND chat = ? AND account_id = ?"
_MESSAGES = "messages INDEXED BY messages_chat"


def window(account_id: str, device_id: str, chat: str, before: int | None, limit: int) -> Query[Message]:
    """The conversation's messages, newest first, from the row number `before` downwards."""
    sql = (
        f"SELECT {columns(Message)} FROM {_MESSAGES} WHERE {_IN_CHAT} AND no < ? "  # noqa: S608
        "ORDER BY no DESC LIMIT ?"
    )
    below = 1 << 62 if before is None else before
    return Query(sql, (device_id, chat, account_id, below, limit), decoder(Message))


def marks_after(account_id: str, device_id: str, chat: str, no: int) -> Query[Message]:
    """Reactions, edits and deletions among the LOOK_AHEAD messages from row `no` on, oldest first."""
    following = f"SELECT * FROM {_MESSAGES} WHERE {_IN_CHAT} AND no >= ? ORDER BY no LIMIT {LOOK_AHEAD}"  # noqa: S608
    kinds = ", ".join("?" * len(MARKS))
    sql = f"SELECT {columns(Message)} FROM ({following}) WHERE kind IN ({kinds}) ORDER BY no"  # noqa: S608
    return Query(sql, (device_id, chat, account_id, no, *MARKS), decoder(Message))


def place_after(account_id: str, device_id: str, chat: str, no: int, messages: int) -> Query[int]:
    """The row number so many messages after row `no`; no row when there are fewer."""
    sql = f"SELECT no FROM {_MESSAGES} WHERE {_IN_CHAT} AND no > ? ORDER BY no LIMIT 1 OFFSET ?"  # noqa: S608
    return count(sql, device_id, chat, account_id, no, messages)


def named(account_id: str, device_id: str, chat: str, wa_ids: tuple[str, ...]) -> Query[Message]:
    """The conversation's messages with these ids of WhatsApp's."""
    marks = ", ".join("?" * len(wa_ids))
    sql = (
        f"SELECT {columns(Message)} FROM messages INDEXED BY messages_wa "  # noqa: S608
        f"WHERE substr(wa_id, -8) IN ({marks.replace('?', 'substr(?, -8)')}) AND wa_id IN ({marks}) "
        "AND device_id = ? AND chat = ? AND account_id = ?"
    )
    return Query(sql, (*wa_ids, *wa_ids, device_id, chat, account_id), decoder(Message))


def files(account_id: str, media_ids: tuple[str, ...]) -> Query[MediaFile]:
    """The account's files with these ids."""
    marks = ", ".join("?" * len(media_ids))
    sql = f"SELECT {columns(MediaFile)} FROM media WHERE id IN ({marks}) AND account_id = ?"  # noqa: S608
    return Query(sql, (*media_ids, account_id), decoder(MediaFile))
