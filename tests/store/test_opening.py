"""The first look at the database: clean and unclean stops, damage, and what takes a damaged file's place."""

import contextlib
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.store import backup, last_stop, opening, recovery
from appliance.store.database import StoreSettings, connect
from appliance.store.last_stop import LastStop
from appliance.store.migrate import migrate
from appliance.store.recovery import NUMBERS_AHEAD, Road

SETTINGS = StoreSettings()
PAGE = 4096
DEVICE = (
    "INSERT INTO devices (id, account_id, name, sandbox, status, linked, wanted, created_at) "
    "VALUES (?, 'a1', 'one', 1, 'CONNECTED', 1, 1, 1)"
)
MESSAGE = (
    "INSERT INTO messages (id, account_id, device_id, sandbox, chat, from_me, via_api, kind, type, text, "
    "content, details, status, told, created_at) "
    "VALUES (?, 'a1', 'd1', 1, 'c', 1, 1, 'text', 'conversation', ?, x'7b7d', x'7b7d', ?, 1, 1)"
)
MESSAGES = 600


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with an account, a device, messages and events, cleanly closed."""
    path = tmp_path / "gateway.db"
    opening.prepare(path, SETTINGS)
    migrate(path, SETTINGS)
    opening.begun(path)
    with contextlib.closing(connect(path, SETTINGS)) as connection:
        fill(connection)
    opening.ended(path)
    return path


def fill(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    connection.execute(
        "INSERT INTO accounts (id, email, name, role, password_hash, key_hash, key_sealed, key_rotated_at, "
        "created_at) VALUES ('a1', 'a@example.test', 'A', 'admin', 'hash', x'01', x'02', 1, 1)"
    )
    connection.execute(
        "INSERT INTO browser_sessions (token_hash, account_id, csrf, agent, address, created_at, "
        "confirmed_at, seen_at, expires_at) VALUES (x'01', 'a1', 'csrf', 'agent', '::1', 1, 1, 1, 9)"
    )
    connection.execute(DEVICE, ("d1",))
    for n in range(MESSAGES):
        connection.execute(MESSAGE, (f"m{n}", f"text {n} " * 30, "sent" if n else "queued"))
        body = b'{"n":%d}' % n
        connection.execute(
            "INSERT INTO events (account_id, device_id, type, body, crc, created_at) VALUES "
            "('a1', 'd1', 'message.status', ?, ?, 1)",
            (body, zlib.crc32(body)),
        )
    connection.execute("COMMIT")


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def overwrite(path: Path, pages: range, with_: bytes = b"\xff" * 64) -> None:
    with path.open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE)
            file.write(with_)


def pages_of(path: Path, table: str) -> list[int]:
    """Page numbers (from 0) of the table's leaves."""
    sql = f"SELECT pageno - 1 FROM dbstat WHERE name = '{table}' AND pagetype = 'leaf' ORDER BY path"
    return [int(str(row[0])) for row in ask(path, sql)]


def aside(path: Path) -> list[Path]:
    return sorted(p for p in path.parent.glob("gateway.db.corrupt-*Z"))


def test_a_stop_that_the_disk_takes_no_note_of_counts_as_unclean(
    database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opening.begun(database)
    database.with_name("gateway.db.last-stop.new").mkdir()
    opening.ended(database)
    assert "stop_not_noted" in caplog.text
    assert last_stop.of(database) is LastStop.UNCLEAN


def test_a_clean_stop_is_known_and_counts_once(database: Path) -> None:
    assert opening.prepare(database, SETTINGS).last_stop is LastStop.CLEAN
    opening.begun(database)
    assert opening.prepare(database, SETTINGS).last_stop is LastStop.UNCLEAN


def test_a_stop_is_not_clean_while_the_log_holds_something(database: Path) -> None:
    opening.begun(database)
    with contextlib.closing(connect(database, SETTINGS)) as connection:
        connection.execute("UPDATE accounts SET name = 'B'")
        opening.ended(database)
    assert last_stop.of(database) is LastStop.UNCLEAN


def test_a_file_that_was_touched_after_a_clean_stop_is_checked(database: Path) -> None:
    overwrite(database, range(10, 200, 3))
    opened = opening.prepare(database, SETTINGS)
    assert opened.last_stop is LastStop.UNCLEAN
    assert opened.recovery is not None


def test_a_sound_file_is_left_alone_after_an_unclean_stop(database: Path) -> None:
    opening.begun(database)
    before = database.read_bytes()
    opened = opening.prepare(database, SETTINGS)
    assert (opened.recovery, opened.check_later) == (None, False)
    assert database.read_bytes() == before
    assert not aside(database)


def test_the_first_start_finds_nothing_and_recovers_nothing(tmp_path: Path) -> None:
    opened = opening.prepare(tmp_path / "gateway.db", SETTINGS)
    assert (opened.last_stop, opened.recovery) == (LastStop.NONE, None)


def test_backups_alone_bring_the_database_back(database: Path) -> None:
    made = backup.make(database, 1_700_000_000_000)
    for path in database.parent.glob("gateway.db*"):
        path.unlink()
    opened = opening.prepare(database, SETTINGS)
    assert opened.recovery is not None
    assert (opened.recovery.road, opened.recovery.backup) == (Road.RESTORED, made.path.name)


def test_an_interrupted_first_start_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    connect(path, SETTINGS).close()
    assert opening.prepare(path, SETTINGS).recovery is None
    assert migrate(path, SETTINGS)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "garbage header": lambda path: overwrite(path, range(1), b"not a database" * 20),
    "zeroed pages": lambda path: overwrite(path, range(5, 100, 2), bytes(PAGE)),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: 50 * PAGE + 17]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "noise": lambda path: path.write_bytes(b"\x5a" * 100_000),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_set_aside_and_the_newest_good_backup_takes_its_place(
    database: Path, damage: Callable[[Path], object]
) -> None:
    backup.make(database, 1_700_000_000_000)
    newest = backup.make(database, 1_700_000_100_000)
    spoiled = backup.make(database, 1_700_000_200_000)
    overwrite(spoiled.path, range(10, 200, 3))
    damage(database)
    damaged = database.read_bytes() if database.exists() else None

    opened = opening.prepare(database, SETTINGS)

    assert opened.recovery is not None
    assert (opened.recovery.road, opened.recovery.backup) == (Road.RESTORED, newest.path.name)
    assert [part.read_bytes() for part in aside(database)] == ([] if damaged is None else [damaged])
    assert ask(database, "SELECT count(*) FROM messages") == [(MESSAGES,)]
    assert recovery.last_recovery(database) == opened.recovery
    assert opening.prepare(database, SETTINGS).recovery is None, "the next start finds it whole"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_without_a_backup_the_start_goes_on_with_what_there_is(
    database: Path, damage: Callable[[Path], object]
) -> None:
    damage(database)
    opened = opening.prepare(database, SETTINGS)
    assert opened.recovery is not None
    assert opened.recovery.road in {Road.SALVAGED, Road.EMPTY}
    assert opening.damage_of(database, whole=True) is None
    assert ask(database, "PRAGMA foreign_key_check") == []


def test_rows_around_damaged_pages_are_salvaged(database: Path) -> None:
    leaves = pages_of(database, "messages")
    assert len(leaves) > 20
    for leaf in (leaves[3], leaves[10], leaves[11]):
        overwrite(database, range(leaf, leaf + 1))
    opened = opening.prepare(database, SETTINGS)
    assert opened.recovery is not None
    assert opened.recovery.road is Road.SALVAGED
    per_leaf = MESSAGES // len(leaves) + 2
    assert MESSAGES - 3 * per_leaf <= opened.recovery.rows["messages"] < MESSAGES
    assert opened.recovery.rows["accounts"] == opened.recovery.rows["devices"] == 1


@pytest.mark.parametrize(
    ("text", "garbled"),
    [(b"CREATE TABLE chat_names (", b"CREATE \xc1ABLE chat_names ("), (b"messages_wa", b"\xc1essages_wa")],
    ids=["a definition", "a name"],
)
def test_a_schema_that_cannot_even_be_quoted_is_damage(database: Path, text: bytes, garbled: bytes) -> None:
    opening.begun(database)
    database.write_bytes(database.read_bytes().replace(text, garbled, 1))
    opened = opening.prepare(database, SETTINGS)
    assert opened.recovery is not None
    assert opened.recovery.road is Road.SALVAGED
    assert opened.recovery.rows["messages"] == MESSAGES


def test_an_event_whose_body_changed_is_left_behind(database: Path) -> None:
    with contextlib.closing(connect(database, SETTINGS)) as connection:
        connection.execute("UPDATE events SET body = x'7b7d' WHERE no = 7")
    leaf = pages_of(database, "messages")[3]
    overwrite(database, range(leaf, leaf + 1))
    opened = opening.prepare(database, SETTINGS)
    assert opened.recovery is not None
    assert opened.recovery.rows["events"] == MESSAGES - 1


@pytest.mark.parametrize("backed_up", [True, False])
def test_the_log_of_an_empty_file_is_kept(database: Path, *, backed_up: bool) -> None:
    opening.begun(database)
    log_file = database.with_name("gateway.db-wal")
    if backed_up:
        backup.make(database, 1_700_000_000_000)
    with contextlib.closing(connect(database, SETTINGS)) as connection:
        connection.execute("UPDATE accounts SET name = 'B'")
        data = log_file.read_bytes()
    database.write_bytes(b"")
    log_file.write_bytes(data)
    opening.prepare(database, SETTINGS)
    [kept] = database.parent.glob("gateway.db.corrupt-*-wal")
    assert kept.read_bytes() == data


def test_the_tables_are_found_when_the_first_page_is_gone(database: Path) -> None:
    overwrite(database, range(1), bytes(PAGE))
    opened = opening.prepare(database, SETTINGS)
    assert opened.recovery is not None
    assert opened.recovery.rows["messages"] == MESSAGES
    assert opened.recovery.rows["accounts"] == 1


def test_nothing_is_numbered_twice_nor_sent_twice_nor_left_open(database: Path) -> None:
    backup.make(database, 1_700_000_000_000)
    overwrite(database, range(1), b"x" * 100)
    opening.prepare(database, SETTINGS)
    [(first,)] = ask(database, "SELECT seq FROM sqlite_sequence WHERE name = 'events'")
    assert isinstance(first, int)
    assert MESSAGES + NUMBERS_AHEAD <= first < 1 << 53
    assert ask(database, "SELECT no FROM event_floors") == [(first,)], "every follower is told of a gap"
    assert ask(database, "SELECT status FROM messages WHERE id = 'm0'") == [("sending",)]
    assert ask(database, "SELECT count(*) FROM browser_sessions") == [(0,)]
    sequences = ask(database, "SELECT min(seq) FROM sqlite_sequence")
    assert sequences[0][0] >= NUMBERS_AHEAD  # type: ignore[operator]

    overwrite(database, range(1), b"x" * 100)
    opening.prepare(database, SETTINGS)
    [(second,)] = ask(database, "SELECT seq FROM sqlite_sequence WHERE name = 'events'")
    assert isinstance(second, int)
    assert second > first


def test_an_exchange_that_was_interrupted_is_carried_to_its_end(database: Path) -> None:
    """Killed after the replacement was ready: the damaged file still lies in its place, with a log that
    belongs to it."""
    ready = database.with_name("gateway.db.ready")
    ready.write_bytes(database.read_bytes())
    overwrite(database, range(1), b"x" * 100)
    database.with_name("gateway.db-wal").write_bytes(b"of the damaged one")
    opened = opening.prepare(database, SETTINGS)
    assert opened.recovery is None
    assert ask(database, "SELECT count(*) FROM messages") == [(MESSAGES,)]
    assert len(aside(database)) == 1
    assert not ready.exists()
    [log_file] = database.parent.glob("gateway.db.corrupt-*-wal")
    assert log_file.read_bytes() == b"of the damaged one"


def test_a_suspected_file_is_checked_whole_and_its_searches_built_anew(database: Path) -> None:
    assert ask(database, "SELECT count(*) FROM message_search WHERE message_search MATCH 'text'") == [
        (MESSAGES,)
    ]
    with contextlib.closing(connect(database, SETTINGS)) as connection:
        connection.execute("DELETE FROM message_search_data WHERE id > 10")
    last_stop.suspect(database)
    assert opening.prepare(database, SETTINGS).recovery is None
    assert ask(database, "SELECT count(*) FROM message_search WHERE message_search MATCH 'text'") == [
        (MESSAGES,)
    ]


def log_of_changes(database: Path) -> tuple[bytearray, bytes]:
    """The log and its index as a few commits leave them, before they are closed away."""
    with contextlib.closing(connect(database, SETTINGS)) as connection:
        for n in range(20):
            connection.execute("UPDATE accounts SET name = ?", (f"name {n}",))
        files = (database.with_name(f"gateway.db-{end}").read_bytes() for end in ("wal", "shm"))
        return bytearray(next(files)), next(files)


def test_a_hole_in_the_log_is_said_and_the_log_is_kept(
    database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opening.begun(database)
    log_file = database.with_name("gateway.db-wal")
    data, _ = log_of_changes(database)
    data[len(data) // 2] ^= 0xFF
    log_file.write_bytes(data)
    opened = opening.prepare(database, SETTINGS)
    assert opened.recovery is not None
    assert opened.recovery.road is Road.CUT
    assert "log_damaged" in caplog.messages
    [(number,)] = ask(database, "SELECT seq FROM sqlite_sequence WHERE name = 'events'")
    assert isinstance(number, int)
    assert number >= MESSAGES + NUMBERS_AHEAD, "what was lost had numbers, too"
    [copy] = database.parent.glob("gateway.db.corrupt-*-wal")
    assert copy.read_bytes() == data


def test_a_log_that_lost_its_end_is_known_by_its_index(database: Path) -> None:
    opening.begun(database)
    log_file, index = database.with_name("gateway.db-wal"), database.with_name("gateway.db-shm")
    data, counted = log_of_changes(database)
    log_file.write_bytes(data)
    index.write_bytes(counted)
    assert opening.prepare(database, SETTINGS).recovery is None
    log_file.write_bytes(data[: len(data) // 2])
    index.write_bytes(counted)
    opened = opening.prepare(database, SETTINGS)
    assert opened.recovery is not None
    assert opened.recovery.road is Road.CUT


def test_a_log_whose_last_commit_was_cut_off_is_nothing_special(
    database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opening.begun(database)
    log_file = database.with_name("gateway.db-wal")
    data, _ = log_of_changes(database)
    for cut in (data[:-100], data[:-50] + bytes(50)):
        log_file.write_bytes(cut)
        assert opening.prepare(database, SETTINGS).recovery is None
    assert "log_damaged" not in caplog.messages
