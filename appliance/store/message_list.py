"""Lists of messages, newest first: narrowed by columns and searched for words, however many there are.

Not every filter has an index of its own, because each would be written with every message. Instead a list is
read stretch by stretch from the index that fits best, and no page looks at more than LOOKED_AT rows of it: a
page may so be shorter than it was asked to be, and still say where to go on.
"""

import contextlib

import msgspec

from appliance.model.message import Message
from appliance.store import removal
from appliance.store.database import Reader
from appliance.store.message_search import expression
from appliance.store.query import Query, columns, count, decoder

_TOP = (1 << 63) - 1


class Effort(msgspec.Struct, frozen=True):
    """How many rows of an index one page goes over: at first, in one query, and altogether."""

    first: int = 2_000
    longest: int = 16_000
    most: int = 100_000


_USUAL = Effort()


class Filters(msgspec.Struct, frozen=True):
    """What a list of messages is narrowed to; None does not narrow. `since` and `until` are ms of
    `created_at`; `words` is what somebody typed into a search box (see message_search)."""

    device_id: str | None = None
    remote_jids: tuple[str, ...] | None = None
    participant: str | None = None
    from_me: bool | None = None
    kind: str | None = None
    status: str | None = None
    since: int | None = None
    until: int | None = None
    words: str | None = None


class Found(msgspec.Struct, frozen=True):
    """A page of messages; the list goes on below row number `before`, None: it ends here."""

    messages: list[Message]
    before: int | None


class _Source(msgspec.Struct, frozen=True):
    """Where a list is read from: rows of `table` that fit `where` come in the order of `no` by themselves."""

    table: str
    where: str
    args: tuple[str, ...]
    no: str = "no"


class _Narrowed(msgspec.Struct, frozen=True):
    """The filters that the source itself does not apply."""

    clauses: list[str]
    values: list[object]
    leaves_out: bool
    """Whether any row of a source might not fit."""


class _Part(msgspec.Struct, frozen=True):
    """What one source gave: everything that fits above row number `floor`."""

    messages: list[Message]
    floor: int


async def read(
    reader: Reader,
    account_id: str,
    filters: Filters,
    before: int | None,
    limit: int,
    effort: Effort = _USUAL,
) -> Found:
    """The account's messages that fit, newest first, from the row number `before` downwards: at most
    `limit`, fewer when what fits is far between."""
    top = _TOP if before is None else before - 1
    narrowed = _narrowed(account_id, filters, await reader.all(removal.hidden_devices()))
    sources = await _sources(reader, account_id, filters)
    parts = [await _part(reader, source, narrowed, top, limit + 1, effort) for source in sources]
    floor = max((part.floor for part in parts), default=0)
    found = [message for part in parts for message in part.messages if message.no > floor]
    found.sort(key=lambda message: message.no, reverse=True)
    if len(found) > limit:
        return Found(found[:limit], found[limit - 1].no)
    return Found(found, floor + 1 if floor else None)


async def _sources(reader: Reader, account_id: str, filters: Filters) -> list[_Source]:
    """The indexes that leave the least to look at."""
    if filters.words is not None:
        words = expression(filters.words, filters.device_id or account_id)
        found = "(SELECT rowid AS found FROM message_search WHERE message_search MATCH ?)"
        return [_Source(f"{found} CROSS JOIN messages", "no = found", (words,), "found")] if words else []
    if filters.remote_jids is not None:
        table, where = "messages INDEXED BY messages_chat", "device_id = ? AND chat = ?"
        places = await reader.all(_places(account_id, filters))
        return [_Source(table, where, place) for place in places]
    if filters.status in {"failed", "unconfirmed"}:
        where = "account_id = ? AND error_code IS NOT NULL"
        return [_Source("messages INDEXED BY messages_failed", where, (account_id,))]
    if filters.status in {"queued", "sending"}:
        where = "status IN ('queued', 'sending') AND account_id = ?"
        return [_Source("messages INDEXED BY messages_waiting", where, (account_id,))]
    return [_Source("messages INDEXED BY messages_account", "account_id = ?", (account_id,))]


async def _part(
    reader: Reader, source: _Source, narrowed: _Narrowed, top: int, limit: int, effort: Effort
) -> _Part:
    """The first `limit` rows of the source from row number `top` downwards, stretch by stretch."""
    found: list[Message] = []
    left, stretch = effort.most, effort.first
    # A search must find all words that begin so before its first row; the others' reads do not wait for it.
    turn = reader.long_read if source.no == "found" else contextlib.nullcontext()
    while left > 0:
        floor = 0
        if narrowed.leaves_out:
            async with turn:
                floor = await reader.one(_end_of_stretch(source, top, stretch)) or 0
        async with turn:
            found += await reader.all(_stretch(source, narrowed, floor, top, limit - len(found)))
        if len(found) == limit:
            return _Part(found, found[-1].no - 1)
        if not floor:
            return _Part(found, 0)
        top, left, stretch = floor, left - stretch, min(2 * stretch, effort.longest)
    return _Part(found, top)


def _places(account_id: str, filters: Filters) -> Query[tuple[str, ...]]:
    """(device, chat) of the account's conversations with these addresses."""
    jids = filters.remote_jids or ()
    mine = "SELECT id FROM devices WHERE account_id = ? AND id = coalesce(?, id)"
    marks = ", ".join("?" * len(jids))
    sql = f"SELECT device_id, chat FROM chats WHERE device_id IN ({mine}) AND chat IN ({marks})"  # noqa: S608
    return Query(sql, (account_id, filters.device_id, *jids), tuple)


def _end_of_stretch(source: _Source, top: int, stretch: int) -> Query[int]:
    """The row number that many rows of the source below `top`; no row: the source ends before."""
    where = f"{source.where} AND {source.no} <= ? ORDER BY {source.no} DESC LIMIT 1 OFFSET ?"
    return count(f"SELECT {source.no} FROM {source.table} WHERE {where}", *source.args, top, stretch)  # noqa: S608


def _stretch(source: _Source, narrowed: _Narrowed, floor: int, top: int, limit: int) -> Query[Message]:
    """What fits between the two row numbers, `top` itself included."""
    where = " AND ".join([source.where, *narrowed.clauses, f"{source.no} > ?", f"{source.no} <= ?"])
    sql = f"SELECT {columns(Message)} FROM {source.table} WHERE {where} ORDER BY {source.no} DESC LIMIT ?"  # noqa: S608
    return Query(sql, (*source.args, *narrowed.values, floor, top, limit), decoder(Message))


def _narrowed(account_id: str, filters: Filters, hidden: list[str]) -> _Narrowed:
    named: list[tuple[str, object]] = [
        ("account_id = ?", account_id),
        ("device_id = ?", filters.device_id),
        ("participant = ?", filters.participant),
        ("from_me = ?", filters.from_me),
        ("kind = ?", filters.kind),
        ("status = ?", filters.status),
        ("created_at >= ?", filters.since),
        ("created_at < ?", filters.until),
    ]
    asked = [(sql, value) for sql, value in named if value is not None]
    chats = filters.remote_jids or ()
    clauses = [sql for sql, _ in asked]
    if chats:
        clauses.append(f"chat IN ({', '.join('?' * len(chats))})")
    if hidden:
        clauses.append(f"device_id NOT IN ({', '.join('?' * len(hidden))})")
    # Owners are words of the search itself; chats are sources of their own, but not of a search.
    owners = 2 if filters.words is not None and filters.device_id is not None else 1
    return _Narrowed(clauses, [*(value for _, value in asked), *chats, *hidden], len(clauses) > owners)
