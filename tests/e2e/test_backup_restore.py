"""R12: a backup in the middle of traffic, restored in another directory: the same rows, the session goes on
where it was, files open, keys and webhook secrets still work."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from commands import begun, done, ended
from crash.books import Books
from crash.mixed_traffic import THEIRS, Traffic
from hook import Hook, Post, receiving
from loopback.patch import PATCH_REASON, can_patch
from loopback.server import LoopbackServer
from road import link_by_qr
from running import Account, Running, until
from standardwebhooks.webhooks import Webhook

pytestmark = pytest.mark.skipif(not can_patch(), reason=PATCH_REASON)

OURS = "628111000111"
FILE = b"what is in the file " * 5000
# Of a message only what its sending and its receipts do not move; of the rest whole rows.
SAME = {
    "accounts": "*",
    "media": "*",
    "endpoints": "id, account_id, url, events, filters, secret_sealed, headers_sealed",
    "devices": "id, account_id, name, sandbox, linked, wanted, phone, jid, lid",
    "messages": "no, id, account_id, device_id, from_me, kind, type, text, content, created_at",
    "events": "*",
    "idempotency": "*",
}
BAR_S = 300.0


class Story(msgspec.Struct):
    """A gateway with a real device, and everybody who has to do with it."""

    net: LoopbackServer
    hook: Hook
    gateway: Running
    account: Account
    device_id: str
    secret: str
    file_id: str


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with LoopbackServer(tmp_path / "net") as net, receiving() as hook:
        net.add_account(OURS, "Ours")
        net.add_account(THEIRS, "Theirs")
        gateway = like(net, tmp_path / "data").start()
        account = gateway.account()
        secret = account.ok("POST", "/webhooks", {"url": hook.url})["secret"]
        device_id = link_by_qr(net, account, OURS)
        net.on_phone(THEIRS, lambda phone: phone.send_media(OURS, "document", FILE, filename="f.txt"))
        told = hook.wait("received file", lambda e: "url" in e["data"].get("media", {}))
        try:
            yield Story(net, hook, gateway, account, device_id, secret, told["data"]["id"])
        finally:
            gateway.close()
            if gateway.process.poll() is None:
                gateway.stop()


def like(net: LoopbackServer, data: Path) -> Running:
    settings = {
        "engine.proxy": net.proxy_url,
        "webhooks.allow": ["loopback"],
        "limits.messages_per_minute": 0,
    }
    return Running(data, settings=settings, environment=net.client_env())


@pytest.mark.timeout(600)
def test_a_backup_amid_traffic_goes_on_elsewhere(story: Story, tmp_path: Path) -> None:
    (tmp_path / "phrase").write_text("correct horse battery staple")
    options = (tmp_path / "backup", "--passphrase-file", tmp_path / "phrase", "--data-dir")
    books = Books()
    traffic = Traffic(story.net, story.account, {OURS: story.device_id}, books)
    try:
        until("traffic", lambda: len(books.answered) > 20 and len(books.written) > 10)
        before = len(books.answered)
        began = time.monotonic()
        code, out, err = ended(begun("backup", *options, story.gateway.data))
        assert code == 0, err
        took_s = time.monotonic() - began
        assert "Devices: 1, files: 1." in out
        assert len(books.answered) > before, "the gateway goes on meanwhile"
    finally:
        traffic.stop()
    assert books.faults == []
    story.gateway.close()
    assert story.gateway.stop() == 0
    began = time.monotonic()
    done("restore", *options, tmp_path / "elsewhere")
    took_s += time.monotonic() - began
    print(f"backup and restore: {took_s:.1f} s")
    assert took_s < BAR_S
    compare(story.gateway.data / "gateway.db", tmp_path / "elsewhere" / "gateway.db")
    reached = outgoing(story)
    restored = like(story.net, tmp_path / "elsewhere").start()
    try:
        goes_on(story, Account(restored.url, story.account.key))
        assert outgoing(story) == reached, "nothing of the other life is sent again"
    finally:
        restored.close()
        assert restored.stop() == 0


def outgoing(story: Story) -> list[str]:
    """What of the traffic has reached the other's phone, by WhatsApp's ids."""
    inbox = list(story.net.phones[THEIRS].inbox)
    return sorted(message.id for message in inbox if message.text.startswith("out "))


def compare(left: Path, restored: Path) -> None:
    """Every row that was restored is one of those there were; of messages and events all up to one moment."""
    for table, columns in SAME.items():
        theirs, ours = rows(left, table, columns), rows(restored, table, columns)
        assert ours, table
        if table in {"messages", "events"}:
            assert ours == theirs[: len(ours)], table
            assert len(ours) < len(theirs), "the other gateway went on"
        else:
            assert [row for row in ours if row not in theirs] == [], table


def rows(database: Path, table: str, columns: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()


def goes_on(story: Story, account: Account) -> None:
    """It is connected without being linked again, hears and speaks, and tells with the same secret."""
    seen = len(story.hook.posts)
    account.connected(story.device_id)
    story.net.on_phone(THEIRS, lambda phone: phone.send_text(OURS, "do you still hear me?"))
    assert story.hook.text("do you still hear me?")["deviceId"] == story.device_id
    text = "and you me?"
    sent = account.send(story.device_id, THEIRS, text)
    assert sent["status"] in {"sent", "delivered", "read"}
    story.net.on_phone(THEIRS, lambda phone: phone.wait_for(text))
    answer = account.http.get(f"/messages/{story.file_id}/media")
    assert answer.status_code == 200
    assert answer.content == FILE

    def told() -> list[Post]:
        return [post for post in story.hook.posts[seen:] if post.event["data"].get("id") == sent["id"]]

    for post in until("the webhook", told):
        Webhook(story.secret).verify(post.body, post.headers)
    account.http.close()
