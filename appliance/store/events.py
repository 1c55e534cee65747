"""The events table: the truth that streams and webhooks are told from."""

import zlib

import msgspec

from appliance.model.event import Event, EventType
from appliance.store.database import Transaction
from appliance.store.query import Query, columns, count, decoder, insertion, parameters, select

_INSERT = insertion(Event, "events")
LOOKED_AT = 5_000


def insert(tx: Transaction, event: Event) -> None:
    tx.run(_INSERT, *parameters(event))


def crc(body: bytes) -> int:
    """CRC-32 of a stored body: a damaged page must not be signed and sent as if it were ours."""
    return zlib.crc32(body)


def highest() -> Query[int]:
    """The highest number ever given, also to events that are gone."""
    return count("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'")


def latest(account_id: str) -> Query[int]:
    """The account's newest event number, 0 before the first."""
    return count("SELECT coalesce(max(no), 0) FROM events WHERE account_id = ?", account_id)


def by_no(no: int) -> Query[Event]:
    return select(Event, "events", "no = ?", no)


def after(
    account_id: str, no: int, limit: int, types: tuple[EventType, ...] = (), device_id: str | None = None
) -> Query[Event]:
    """The account's events that follow `no`, oldest first."""
    where, args = ["account_id = ?", "no > ?"], [account_id, no]
    if types:
        where.append(f"type IN ({', '.join('?' * len(types))})")
        args += [str(t) for t in types]
    if device_id is not None:
        where.append("device_id = ?")
        args.append(device_id)
    sql = f"SELECT {columns(Event)} FROM events WHERE {' AND '.join(where)} ORDER BY no LIMIT ?"  # noqa: S608
    return Query(sql, (*args, limit), decoder(Event))


def newest_at() -> Query[int]:
    """When (ms) the newest event of all was written; no row: there is none."""
    return count("SELECT created_at FROM events ORDER BY no DESC LIMIT 1")


def floor(account_id: str) -> Query[int]:
    """The highest number that retention deleted: what follows a point below it is incomplete. No row:
    nothing was deleted."""
    return count("SELECT no FROM event_floors WHERE account_id = ?", account_id)


def told_as(device_id: str, message_id: str) -> Query[int]:
    """The number under which a message was first told; no row: it was not told, or that event is gone.

    It reads the device's events one by one: for the sandbox, not for a busy path.
    """
    sql = (
        "SELECT no FROM events WHERE device_id = ? AND type = 'message.received' AND instr(body, ?) > 0 "
        "ORDER BY no LIMIT 1"
    )
    return count(sql, device_id, f'"id":"{message_id}"'.encode())


class Aged(msgspec.Struct, frozen=True):
    """An event that is old enough to go."""

    no: int
    account_id: str


def aged(before_ms: int, limit: int) -> Query[Aged]:
    """Old events that no delivery still needs, among the LOOKED_AT oldest: the writer must not go over all
    that a receiver has not taken for days."""
    oldest = f"SELECT no, account_id FROM events WHERE created_at < ? ORDER BY created_at LIMIT {LOOKED_AT}"  # noqa: S608
    unneeded = (
        "NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_no = o.no AND d.status = 'pending') LIMIT ?"
    )
    return select(Aged, f"({oldest}) o", unneeded, before_ms, limit)


def delete(tx: Transaction, gone: list[Aged]) -> None:
    """Delete these events and raise each account's floor to the highest of them."""
    for event in gone:
        tx.run("DELETE FROM events WHERE no = ?", event.no)
        tx.run(
            "INSERT INTO event_floors (account_id, no) VALUES (?, ?) "
            "ON CONFLICT (account_id) DO UPDATE SET no = max(no, excluded.no)",
            event.account_id,
            event.no,
        )
