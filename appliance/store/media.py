"""The media table."""

from appliance.model.media import MediaFile, MediaState
from appliance.store.database import Transaction
from appliance.store.query import Query, insertion, parameters, select

_INSERT = insertion(MediaFile, "media")


def insert(tx: Transaction, file: MediaFile) -> None:
    tx.run(_INSERT, *parameters(file))


def by_id(media_id: str) -> Query[MediaFile]:
    """The file whoever owns it: for signed links, whose signature stands for the right to read."""
    return select(MediaFile, "media", "id = ?", media_id)


def of_account(account_id: str, media_id: str) -> Query[MediaFile]:
    return select(MediaFile, "media", "account_id = ? AND id = ?", account_id, media_id)


def of_device(account_id: str, device_id: str) -> Query[MediaFile]:
    return select(MediaFile, "media", "account_id = ? AND device_id = ?", account_id, device_id)


def aged(before_ms: int, limit: int) -> Query[MediaFile]:
    """Files old enough to be deleted."""
    where = "created_at < ? AND state = 'stored' ORDER BY created_at LIMIT ?"
    return select(MediaFile, "media", where, before_ms, limit)


def before(before_ms: int, limit: int) -> Query[MediaFile]:
    """Files that came before a time, here or not; one that is still being fetched is left."""
    where = "created_at < ? AND state <> 'pending' ORDER BY created_at LIMIT ?"
    return select(MediaFile, "media", where, before_ms, limit)


def waiting_notes() -> Query[bytes]:
    """What the engine was told to send, of every message with a file that waits: the file is needed."""
    sql = (
        "SELECT outgoing FROM messages INDEXED BY messages_waiting "
        "WHERE status IN ('queued', 'sending') AND kind <> 'text' AND outgoing IS NOT NULL"
    )
    return Query(sql, (), lambda row: bytes(row[0]))


def settle(tx: Transaction, media_id: str, state: MediaState, size: int | None, error: str | None) -> None:
    """The file's fetching ended."""
    tx.run(
        "UPDATE media SET state = ?, size = coalesce(?, size), error = ? WHERE id = ?",
        str(state),
        size,
        error,
        media_id,
    )


def mark_gone(tx: Transaction, files: list[MediaFile]) -> None:
    """Retention took the files; their rows say so."""
    for file in files:
        tx.run("UPDATE media SET state = 'gone' WHERE id = ?", file.id)


def delete(tx: Transaction, files: list[MediaFile]) -> None:
    for file in files:
        tx.run("DELETE FROM media WHERE id = ?", file.id)
