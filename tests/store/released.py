"""Data directories as released versions left them, and what those versions answered from them.

python tests/store/released.py

makes `fixtures/schema-<number>.tar.gz` for the newest schema, with the program as it is. Run it once, when
the schema is released; from then on neither the archive nor the schema's SQL file may change. It fills a
gateway that runs, copies what that leaves in the middle of its work, opens the copy, and asks it for
everything.
"""

import contextlib
import hashlib
import shutil
import socket
import sqlite3
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import filled_shop
from hook import receiving
from running import Account, Running, until

from appliance import __version__
from appliance.store import backup
from appliance.store.migrate import migrations

FIXTURES = Path(__file__).with_name("fixtures")
DATA, ANSWERS = "data", "answers.json"
SETTINGS = {
    "webhooks.allow": ["loopback"],
    "limits.messages_per_minute": 0,
    "retention.events_days": 36_500,
    "media.keep_days": 0,
    "backup.daily": False,
}
"""Nothing may be too old for the test that opens it years later."""

LISTS = ("/devices", "/messages", "/messages?fromMe=true", "/messages?q=pagi", "/webhooks")
PASSING = {"connectedAt", "failingSince", "givesUpAt", "urlExpiresAt"}
"""What every start makes anew, or moves on by the time in which nobody ran."""


class Answered(msgspec.Struct):
    """What the version answered: for each account's key and each path the JSON, or a file's check sum."""

    version: str
    schema: int
    answers: dict[str, dict[str, Any]]


def fixture(number: int) -> Path:
    """Where the fixture of that schema is."""
    return FIXTURES / f"schema-{number:04}.tar.gz"


def unpack(number: int, folder: Path) -> Answered:
    """Put the data directory into `folder / DATA`; returns what was answered from it."""
    with tarfile.open(fixture(number)) as archive:
        # The newer Pythons ask for a filter, the older ones know none.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(folder)
    return msgspec.json.decode((folder / ANSWERS).read_bytes(), type=Answered)


def ask(gateway: Running, key: str) -> dict[str, Any]:
    """The answers to everything that can be read with that key."""
    account = Account(gateway.url, key)
    answers: dict[str, Any] = {"/auth/me": account.ok("GET", "/auth/me")}
    answers |= {path: _every(account, path) for path in LISTS}
    for webhook in answers["/webhooks"]:
        path = f"/webhooks/{webhook['id']}/deliveries"
        answers[path] = _every(account, path)
        for delivery in answers[path]:
            answers[f"{path}/{delivery['id']}"] = account.ok("GET", f"{path}/{delivery['id']}")
    for device in answers["/devices"]:
        answers[f"/devices/{device['id']}"] = account.ok("GET", f"/devices/{device['id']}")
    for message in answers["/messages"]:
        path = f"/messages/{message['id']}"
        answers[path] = account.ok("GET", path)
        if (message.get("media") or {}).get("url"):
            file = account.http.get(f"{path}/media")
            assert file.is_success, f"{path}/media: {file.status_code} {file.text}"
            answers[f"{path}/media"] = hashlib.sha256(file.content).hexdigest()
    answers["/events"] = _events(account)
    account.http.close()
    return answers


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """What the newer answer lacks or says otherwise. It may say more."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name, value in old.items():
            # The link to a file names the port.
            if name not in PASSING and not (name == "url" and "mimetype" in old):
                yield from differences(value, new.get(name), f"{where}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and all(_name(each) for each in old):
        found = {_name(each): each for each in new}
        for each in old:
            yield from differences(each, found.get(_name(each)), f"{where}[{_name(each)}]")
    elif old != new:
        yield f"{where}: {old!r} is {new!r}"


@contextlib.contextmanager
def opened(data: Path) -> Iterator[Running]:
    """A gateway of the current program on that directory."""
    gateway = Running(data, settings=SETTINGS).start()
    try:
        yield gateway
    finally:
        gateway.close()
        gateway.stop()


def make(folder: Path) -> Path:
    """Make the fixture of the newest schema, in that empty folder first."""
    number = migrations()[-1][0]
    keys = _fill(folder / "filled", folder / DATA)
    asked = shutil.copytree(folder / DATA, folder / "asked")
    with opened(asked) as gateway:
        until("connected devices", lambda: all(_is_settled(gateway, key) for key in keys))
        answers = {key: _lasting(ask(gateway, key), folder / DATA / "gateway.db") for key in keys}
    (folder / ANSWERS).write_bytes(msgspec.json.encode(Answered(__version__, number, answers)))
    FIXTURES.mkdir(exist_ok=True)
    with tarfile.open(fixture(number), "w:gz", compresslevel=9) as archive:
        for name in (DATA, ANSWERS):
            archive.add(folder / name, name, filter=_nobodys)
    return fixture(number)


def _fill(data: Path, copy: Path) -> list[str]:
    """A gateway in the middle of its work: what is on its disk then goes to `copy`. Returns two accounts'
    keys."""
    with contextlib.ExitStack() as stack:
        well, ill = stack.enter_context(receiving()), stack.enter_context(receiving(500, b"not today"))
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        gateway = stack.enter_context(opened(data))
        shop = filled_shop.fill(gateway, well, ill)
        shop.api.ok("PATCH", f"/devices/{shop.devices['unlinked']}", {"proxy": "socks5://u:p@127.0.0.1:9"})
        other = _neighbour(gateway)
        _send_to_group(shop)
        waiting = shop.api.ok("POST", "/webhooks", _hidden(f"http://127.0.0.1:{mute.getsockname()[1]}/"))[
            "id"
        ]
        shop.api.ok("POST", f"/webhooks/{waiting}/test")
        stack.enter_context(mute.accept()[0])  # it is under way, and will be
        for webhook in (*shop.webhooks.values(), waiting):
            shop.api.ok("PATCH", f"/webhooks/{webhook}", {"enabled": False})
        made = backup.make(data / "gateway.db", time.time_ns() // 1_000_000)
        copy.mkdir()
        made.path.replace(copy / "gateway.db")
        shutil.copy(data / "secret.key", copy)
        shutil.copytree(data / "media", copy / "media")
    _give_one_up(copy / "gateway.db")
    return [shop.api.key, other]


def _neighbour(gateway: Running) -> str:
    """The key of somebody else, with a device and a message."""
    account = gateway.account("neighbour@example.test")
    device = account.device("Next door")
    account.send(device, filled_shop.BUDI, "Selamat pagi dari sebelah")
    return account.key


def _send_to_group(shop: filled_shop.Shop) -> None:
    """With a key, and a reader among its members."""
    device, key = shop.devices["disconnected"], {"Idempotency-Key": "once"}
    shop.api.ok("POST", f"/devices/{device}/connect")
    shop.api.connected(device)
    wish = {"deviceId": device, "to": filled_shop.GROUP, "text": "Selamat pagi semua"}
    sent = shop.api.ok("POST", "/messages/send-text", wish, headers=key)
    read = {"messageId": sent["messageId"], "status": "read", "participant": filled_shop.BUDI}
    shop.api.ok("POST", f"/devices/{device}/sandbox/receipt", read)
    shop.api.ok("POST", f"/devices/{device}/disconnect")


def _hidden(url: str) -> dict[str, Any]:
    return {"url": url, "headers": {"Authorization": "Bearer of a receiver"}, "secret": "s" * 32}


def _give_one_up(database: Path) -> None:
    """Seven days of refusals cannot be waited for: one failing delivery gets their outcome."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        one = "SELECT max(no) FROM deliveries WHERE status = 'pending' AND attempts > 0"
        given_up = connection.execute(
            f"UPDATE deliveries SET status = 'dead', finished_at = created_at + 604800000 WHERE no = ({one})"
        )
        assert given_up.rowcount == 1
        connection.commit()
        connection.execute("VACUUM")


def _lasting(answers: dict[str, Any], database: Path) -> dict[str, Any]:
    """Without what happened only after the copy was made."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        [(highest,)] = connection.execute("SELECT max(no) FROM events")
        under_way = connection.execute(
            "SELECT id FROM messages WHERE status IN ('queued', 'sending')"
        ).fetchall()

    def is_new(item: dict[str, Any]) -> bool:
        number = item.get("eventId") or (item.get("data") or {}).get("eventId") or 0
        return number > highest or (item.get("id"),) in under_way

    return {
        path: [each for each in answer if not is_new(each)] if isinstance(answer, list) else answer
        for path, answer in answers.items()
        if not (isinstance(answer, dict) and is_new(answer))
    }


def _is_settled(gateway: Running, key: str) -> bool:
    """Whether its devices are what they stay, and nothing is on its way."""
    account = Account(gateway.url, key)
    try:
        devices = account.every("/devices")
        moving = [d for d in devices if d["linked"] and d["status"] in {"CONNECTING", "STARTING"}]
        return not moving and not any(
            account.ok("GET", "/messages", params={"status": status})["items"]
            for status in ("queued", "sending")
        )
    finally:
        account.http.close()


def _every(account: Account, path: str) -> list[Any]:
    bare, _, query = path.partition("?")
    items: list[Any] = []
    cursor: str | None = ""
    wish = dict([query.split("=")]) if query else {}
    while cursor is not None:
        page = account.ok(
            "GET", bare, params={**wish, "limit": 200, **({"cursor": cursor} if cursor else {})}
        )
        items += page["items"]
        cursor = page["nextCursor"]
    return items


def _events(account: Account) -> list[Any]:
    items: list[Any] = []
    cursor = "0"
    while True:
        query = {"after": cursor, "limit": "200"}
        page = account.ok("GET", "/events", params=query, headers={"Accept": "application/json"})
        if not page["items"]:
            return items
        items += page["items"]
        cursor = page["nextCursor"]


def _name(item: Any) -> str:
    """What tells an item of a list from the others."""
    if not isinstance(item, dict):
        return ""
    return str(item.get("id") or item.get("eventId") or (item.get("data") or {}).get("eventId") or "")


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="released-") as place:
        print(make(Path(place)))
