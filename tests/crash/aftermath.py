"""What must hold of a database after a crash, whatever moment it came at: told in faults, one text each."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from crash.house_traffic import ENDPOINTS, Ledger, wa_id

from appliance.gateway.clock import SystemClock
from appliance.gateway.events import EventLog
from appliance.gateway.fanout import Fanout
from appliance.model.event import EventType, NewEvent
from appliance.store import last_stop, opening
from appliance.store.database import Database, StoreSettings
from appliance.store.migrate import migrate

SETTINGS = StoreSettings()
NUMBERED = ("messages", "events", "deliveries", "devices", "endpoints")
SETTLED = {"sent", "delivered", "read", "played", "failed", "unconfirmed"}


class Damaged(Exception):
    """The start took the database for damaged, which a power cut alone must not make it."""


async def boot(path: Path, ledger: Ledger) -> None:
    """Open the database as a start does after a life that did not end, and tell one more event. Raises
    Damaged, sqlite3.Error."""
    last_stop.begin(path)
    if (recovery := opening.prepare(path, SETTINGS).recovery) is not None:
        raise Damaged(str(recovery))
    migrate(path, SETTINGS)
    opening.begun(path)
    db = Database(path, SETTINGS)
    await db.open()
    try:
        log = EventLog(db.reader, Fanout(), SystemClock())
        await log.open()
        event = NewEvent(ledger.account_id, ledger.device_id, EventType.DEVICE_STATUS, {"after": "the cut"})
        await db.transaction(lambda tx: log.append(tx, event))
    finally:
        await db.close()


def faults(path: Path, ledger: Ledger, position: int) -> list[str]:
    """Every promise broken by a cut at that position. The event that `boot` told is the newest one."""
    connection = sqlite3.connect(path)
    try:
        books = _Books(connection, ledger, position)
        return list(books.faults())
    finally:
        connection.close()


class _Books:
    """The database's side against the ledger's side."""

    def __init__(self, connection: sqlite3.Connection, ledger: Ledger, position: int) -> None:
        self._connection = connection
        self._ledger = ledger
        self._position = position
        swept = [sweep for sweep in ledger.swept if sweep.position <= position]
        self._events_kept_from_ms = max((sweep.before_ms for sweep in swept), default=0)
        self._keys_kept_from_ms = max((sweep.keys_until_ms for sweep in swept), default=0)

    def faults(self) -> Iterator[str]:
        if damage := [said for [said] in self._all("PRAGMA integrity_check(3)") if said != "ok"]:
            yield f"integrity: {damage}"
            return
        for row in self._all("PRAGMA foreign_key_check"):
            yield f"foreign key: {row}"
        if not self._all("SELECT 1 FROM accounts WHERE id = ?", self._ledger.account_id):
            yield "account lost"
        yield from self._searched()
        yield from self._sends()
        yield from self._stored()
        yield from self._taken()
        yield from self._posted()
        yield from self._halves()
        yield from self._numbers()

    def _searched(self) -> Iterator[str]:
        """The full-text index against the messages, word by word."""
        try:
            self._all("INSERT INTO message_search (message_search, rank) VALUES ('integrity-check', 1)")
        except sqlite3.DatabaseError as error:
            yield f"search: {error}"

    def _sends(self) -> Iterator[str]:
        messages = dict(self._all("SELECT id, status FROM messages WHERE via_api = 1"))
        keys = dict(self._all("SELECT key, message_id FROM idempotency"))
        created = dict(self._all("SELECT id, created_at FROM messages WHERE via_api = 1"))
        for send in self._ledger.sends:
            if send.position > self._position:
                continue
            if send.message_id not in messages:
                yield f"accepted message lost: {send.key}"
            elif created[send.message_id] > self._keys_kept_from_ms and keys.get(send.key) != send.message_id:
                yield f"accepted key lost: {send.key}"
            elif send.told in SETTLED and messages[send.message_id] not in SETTLED:
                yield f"told end lost: {send.key} {messages[send.message_id]}"
        for key in set(keys.values()) - set(messages):
            yield f"key without its message: {key}"
        keyed = set(keys.values())
        for identity, created_at in created.items():
            if created_at > self._keys_kept_from_ms and identity not in keyed:
                yield f"message without its key: {identity}"

    def _stored(self) -> Iterator[str]:
        messages = {row[0] for row in self._all("SELECT id FROM messages")}
        for stored in self._ledger.stored:
            if stored.position <= self._position and stored.message_id not in messages:
                yield f"stored message lost: {stored.message_id}"

    def _taken(self) -> Iterator[str]:
        [[mark]] = self._all("SELECT coalesce(max(seq), 0) FROM worker_marks")
        arrived = {
            row[0]: row[1] for row in self._all("SELECT wa_id, id FROM messages WHERE wa_id LIKE 'IN%'")
        }
        for taken in self._ledger.taken:
            if taken.position <= self._position and arrived.get(wa_id(taken.seq)) != taken.message_id:
                yield f"acknowledged event lost: {taken.seq}, mark {mark}"
        if set(arrived) != {wa_id(seq) for seq in range(1, mark + 1)}:
            yield f"mark and messages differ: {mark}, {len(arrived)} messages"

    def _posted(self) -> Iterator[str]:
        bodies = dict(self._all("SELECT no, body FROM events"))
        [[floor]] = self._all("SELECT coalesce(max(no), 0) FROM event_floors")
        newest = max(bodies)
        for posted in self._ledger.posted:
            if posted.position > self._position:
                continue
            if posted.event_no >= newest:
                yield f"number given twice: {posted.event_no}"
            elif posted.event_no not in bodies and posted.event_no > floor:
                yield f"told event lost: {posted.event_no}"
            elif bodies.get(posted.event_no, posted.body) != posted.body:
                yield f"told event changed: {posted.event_no}"

    def _halves(self) -> Iterator[str]:
        if len(self._all("SELECT no FROM endpoints")) == ENDPOINTS:
            yield from self._undelivered()
        missing = "event_no NOT IN (SELECT no FROM events)"
        for [no] in self._all(f"SELECT no FROM deliveries WHERE status = 'pending' AND {missing}"):
            yield f"delivery without its event: {no}"
        counted = "SELECT count(*) FROM attempts a WHERE a.delivery_no = d.no"
        for [no] in self._all(f"SELECT no FROM deliveries d WHERE attempts <> ({counted})"):
            yield f"delivery without its attempts: {no}"
        yield from self._untold()

    def _undelivered(self) -> Iterator[str]:
        """Events that lack deliveries, but for those older than the endpoints."""
        [[first]] = self._all("SELECT coalesce(min(event_no), 0) FROM deliveries")
        told = "SELECT count(*) FROM deliveries d WHERE d.event_no = e.no"
        sql = f"SELECT e.no FROM events e WHERE e.no >= ? AND e.created_at >= ? AND ({told}) <> ?"
        for [no] in self._all(sql, first, self._events_kept_from_ms, ENDPOINTS):
            yield f"event without its deliveries: {no}"

    def _untold(self) -> Iterator[str]:
        """Incoming messages and ended sends without the event that tells them."""
        told: set[tuple[str, str]] = set()
        for [body] in self._all("SELECT body FROM events WHERE type <> 'device.status'"):
            data = msgspec.json.decode(body)["data"]
            told.add((data["id"], data.get("status", "received")))
        sql = "SELECT id, via_api, status FROM messages WHERE created_at >= ?"
        for identity, via_api, status in self._all(sql, self._events_kept_from_ms):
            if not via_api and (identity, "received") not in told:
                yield f"message without its event: {identity}"
            if via_api and status in SETTLED and (identity, status) not in told:
                yield f"end without its event: {identity} {status}"

    def _numbers(self) -> Iterator[str]:
        for table in NUMBERED:
            [[given]] = self._all("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?", table)
            [[highest]] = self._all(f"SELECT coalesce(max(no), 0) FROM {table}")
            if highest > given:
                yield f"number may be given twice: {table} {highest} of {given}"

    def _all(self, sql: str, *args: Any) -> list[Any]:
        return self._connection.execute(sql, args).fetchall()
