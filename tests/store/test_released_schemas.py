"""What released versions left on disk is opened, told as before, and gone on with."""

import contextlib
import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from filled_shop import BUDI
from hook import receiving
from running import Account, until
from store.released import DATA, Answered, ask, differences, opened, unpack

from appliance.store import migrate as migrating
from appliance.store.database import StoreSettings
from appliance.store.migrate import migrate, migrations

RELEASED = {
    1: "5d04a7d23e3221378ef3ffafec92201c0cb486a9dcd98477a5b58adb2418aae9",
}
"""The check sums (SHA-256) of the SQL files of released schemas.

They never change: databases in the field were made by these very bytes, and only a file with a new number
reaches them. To release a schema: run `python tests/store/released.py` with its program, which makes the
fixture, and add the sum of its SQL file here.
"""


def sql_file(number: int) -> Path:
    [file] = (Path(migrating.__file__).parent / "migrations").glob(f"{number:04}_*.sql")
    return file


def schema(path: Path) -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
        ).fetchall()


def test_every_schema_that_another_one_follows_is_released() -> None:
    """Who adds a migration has kept a database of the schema before it."""
    numbers = [number for number, _ in migrations()]
    assert set(numbers[:-1]) <= set(RELEASED)
    assert set(RELEASED) <= set(numbers)


@pytest.mark.parametrize("number", RELEASED)
def test_a_released_schema_is_what_it_was(number: int, tmp_path: Path) -> None:
    assert hashlib.sha256(sql_file(number).read_bytes()).hexdigest() == RELEASED[number], RELEASED.__doc__
    unpack(number, tmp_path)
    made = tmp_path / "made.db"
    migrate(made, StoreSettings(), migrations()[:number])
    assert schema(tmp_path / DATA / "gateway.db") == schema(made)


@pytest.mark.parametrize("number", RELEASED)
def test_the_fixture_holds_something_of_everything(number: int, tmp_path: Path) -> None:
    unpack(number, tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / DATA / "gateway.db")) as connection:

        def kinds(column: str, table: str) -> set[Any]:
            return {value for (value,) in connection.execute(f"SELECT DISTINCT {column} FROM {table}")}

        assert kinds("status", "deliveries") >= {"pending", "delivered", "dead"}
        assert kinds("status", "messages") >= {None, "sending", "read", "failed"}
        assert kinds("status", "devices") >= {"CONNECTED", "DISCONNECTED", "LOGGED_OUT", "BANNED"}
        assert kinds("role", "accounts") == {"admin", "user"}
        assert kinds("state", "media") >= {"stored", "failed"}
        for table in ("browser_sessions", "invites", "attempts", "receipts", "chats", "idempotency"):
            assert kinds("count(*) > 0", table) == {1}, table


@pytest.mark.parametrize("number", RELEASED)
def test_it_is_opened_told_as_before_and_gone_on_with(number: int, tmp_path: Path) -> None:
    answered = unpack(number, tmp_path)
    with receiving() as hook, opened(tmp_path / DATA) as gateway:
        for key, answers in answered.answers.items():
            account = Account(gateway.url, key)
            until("devices as before", lambda a=account, told=answers: _are_as_before(a, told["/devices"]))  # type: ignore[misc]
            assert list(differences(answers, ask(gateway, key))) == []
        account = Account(gateway.url, next(iter(answered.answers)))
        _send(account, _connected(answered, account.key))
        _deliver_what_waited(account, hook.url)
        until("what had waited", lambda: any(event["event"] != "webhook.test" for event in hook.events()))
        account.http.close()


def test_a_difference_would_be_noticed() -> None:
    """The comparison sees what is missing, changed or gone from a list, and lets news be."""
    old = {"items": [{"id": "a", "n": 1}], "file": "sum"}
    assert (
        list(differences(old, {"items": [{"id": "b"}, {"id": "a", "n": 1, "more": 2}], "file": "sum"})) == []
    )
    for new in (
        {"items": [{"id": "a", "n": 2}], "file": "sum"},
        {"items": [{"id": "b", "n": 1}], "file": "sum"},
        {"items": [{"id": "a"}], "file": "sum"},
        {"items": [{"id": "a", "n": 1}]},
    ):
        assert len(list(differences(old, new))) == 1


def _are_as_before(account: Account, devices: list[Any]) -> bool:
    return all(
        account.ok("GET", f"/devices/{device['id']}")["status"] == device["status"] for device in devices
    )


def _connected(answered: Answered, key: str) -> str:
    devices = answered.answers[key]["/devices"]
    return next(str(device["id"]) for device in devices if device["status"] == "CONNECTED")


def _send(account: Account, device_id: str) -> None:
    sent = account.send(device_id, BUDI, "Setelah pembaruan")
    account.message(sent["id"], "read")


def _deliver_what_waited(account: Account, url: str) -> None:
    """Lead the webhook that was refused elsewhere, and turn it on again."""
    [webhook] = [
        each for each in account.every("/webhooks") if not each["enabled"] and "long-path" in each["url"]
    ]
    account.ok("PATCH", f"/webhooks/{webhook['id']}", {"url": url, "enabled": True})
