"""The main road on the real WhatsApp library: link, send, receive, be told by webhook, stream and list."""

import base64
import functools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hook import Hook, receiving
from loopback.patch import can_patch
from loopback.phone import Phone
from loopback.server import LoopbackServer
from road import link_by_qr
from running import Running, until

OURS, THEIRS = "628111000111", "628222000222"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

pytestmark = pytest.mark.skipif(
    not can_patch(), reason="leading a program to the loopback network needs root"
)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def net(tmp_path: Path) -> Iterator[LoopbackServer]:
    with LoopbackServer(tmp_path / "net") as network:
        network.add_account(OURS, "Ours")
        network.add_account(THEIRS, "Theirs")
        yield network


@pytest.fixture
def gateway(net: LoopbackServer, start: Callable[..., Running]) -> Running:
    settings = {"engine.proxy": net.proxy_url, "webhooks.allow": ["loopback"]}
    return start(settings=settings, environment=net.client_env())


def test_link_send_receive_and_be_told(net: LoopbackServer, gateway: Running, hook: Hook) -> None:
    account = gateway.account()
    account.ok("POST", "/webhooks", {"url": hook.url})
    device_id = link_by_qr(net, account, OURS)
    device = account.ok("GET", f"/devices/{device_id}")
    assert device["phone"] == OURS
    assert device["jid"] == f"{OURS}@s.whatsapp.net"

    sent = account.send(device_id, f"+{THEIRS}", "Halo dari gateway")
    assert sent["status"] in {"sent", "delivered"}
    assert sent["remoteJid"] == f"{THEIRS}@s.whatsapp.net"
    received = net.on_phone(THEIRS, lambda phone: phone.wait_for("Halo dari gateway"))
    net.on_phone(THEIRS, lambda phone: phone.send_delivered(received))
    account.message(sent["id"], "delivered")
    net.on_phone(THEIRS, lambda phone: phone.send_read(received))
    account.message(sent["id"], "read")

    wa_id = net.on_phone(THEIRS, lambda phone: phone.send_text(OURS, "Halo juga"))
    told = hook.wait("message.received", lambda b: b["data"].get("text") == "Halo juga")["data"]
    assert told["messageId"] == wa_id
    assert told["remoteJid"] == f"{THEIRS}@s.whatsapp.net"
    assert (told["type"], told["content"]) == ("conversation", {"conversation": "Halo juga"})
    assert told["sender"]["phone"] == THEIRS
    assert told["fromMe"] is False
    hook.wait("read status", lambda b: b["event"] == "message.status" and b["data"]["status"] == "read")
    listed = account.ok("GET", "/messages")["items"]
    assert [m["text"] for m in listed] == ["Halo juga", "Halo dari gateway"]


def test_files_go_both_ways(net: LoopbackServer, gateway: Running, hook: Hook) -> None:
    account = gateway.account()
    account.ok("POST", "/webhooks", {"url": hook.url})
    device_id = link_by_qr(net, account, OURS)

    body = {"deviceId": device_id, "to": THEIRS, "kind": "image", "caption": "lihat"}
    sent = account.ok("POST", "/messages/send-media", {**body, "base64": base64.b64encode(PIXEL).decode()})
    assert sent["kind"] == "image"
    received = net.on_phone(
        THEIRS, lambda phone: phone.wait_for(lambda m: m.message.HasField("imageMessage"))
    )
    assert received.message.imageMessage.caption == "lihat"
    assert net.phones[THEIRS].download(received) == PIXEL

    net.on_phone(THEIRS, lambda phone: phone.send_media(OURS, "image", PIXEL))
    told = hook.wait("image", lambda b: b["event"] == "message.received" and b["data"]["kind"] == "image")[
        "data"
    ]
    assert told["type"] == "imageMessage"
    assert httpx.get(told["media"]["url"]).content == PIXEL
    assert account.http.get(f"/messages/{told['id']}/media").content == PIXEL


def test_a_restart_resumes_and_nothing_is_lost(net: LoopbackServer, gateway: Running, hook: Hook) -> None:
    account = gateway.account()
    account.ok("POST", "/webhooks", {"url": hook.url})
    device_id = link_by_qr(net, account, OURS)
    assert gateway.stop() == 0
    net.on_phone(THEIRS, lambda phone: phone.send_text(OURS, "while you were out"))
    gateway.start()
    account.connected(device_id)
    hook.wait("backlog", lambda b: b["data"].get("text") == "while you were out")


def test_a_kill_of_everything_loses_nothing_that_was_answered(
    net: LoopbackServer, gateway: Running, hook: Hook
) -> None:
    account = gateway.account()
    account.ok("POST", "/webhooks", {"url": hook.url})
    device_id = link_by_qr(net, account, OURS)
    answered = [account.send(device_id, THEIRS, f"m{n}")["id"] for n in range(5)]
    later = account.ok(
        "POST",
        "/messages/send-text",
        {"deviceId": device_id, "to": THEIRS, "text": "later"},
        headers={"Prefer": "respond-async"},
    )
    gateway.kill()
    gateway.start()
    account.connected(device_id)
    for message_id in answered:
        assert account.ok("GET", f"/messages/{message_id}")["status"] in {"sent", "delivered", "read"}

    def ended() -> Any:
        return account.ok("GET", f"/messages/{later['id']}")["status"] not in {"queued", "sending"}

    until("end of the last send", ended)


def test_main_killed_alone_loses_no_incoming_message(
    net: LoopbackServer, gateway: Running, hook: Hook
) -> None:
    account = gateway.account()
    account.ok("POST", "/webhooks", {"url": hook.url})
    device_id = link_by_qr(net, account, OURS)
    stop = threading.Event()
    texts: list[str] = []

    def write() -> None:
        while not stop.is_set():
            text = f"n{len(texts)}"
            net.on_phone(THEIRS, functools.partial(Phone.send_text, to=OURS, body=text))
            texts.append(text)

    writer = threading.Thread(target=write)
    writer.start()
    until("some messages", lambda: len(texts) > 20)
    gateway.kill(group=False)
    stop.set()
    writer.join()
    gateway.start()
    account.connected(device_id)

    def told() -> set[str]:
        return {b["data"]["text"] for b in hook.events() if b["event"] == "message.received"}

    until("every message", lambda: set(texts) <= told())
    assert sorted(m["text"] for m in account.every("/messages")) == sorted(texts)


def test_logged_out_on_the_phone(net: LoopbackServer, gateway: Running, hook: Hook) -> None:
    account = gateway.account()
    account.ok("POST", "/webhooks", {"url": hook.url})
    device_id = link_by_qr(net, account, OURS)
    net.unlink(OURS)
    hook.wait("logout", lambda b: b["event"] == "device.status" and b["data"]["status"] == "LOGGED_OUT")
    body = {"deviceId": device_id, "to": THEIRS, "text": "x"}
    problem = account.refused(409, "device_logged_out", "POST", "/messages/send-text", body)
    assert problem["nextStep"]["path"].endswith(f"{device_id}/connect")
    link_again = account.ok("POST", f"/devices/{device_id}/connect")
    assert link_again["status"] in {"CONNECTING", "QR"}


def test_a_hung_network_does_not_hang_the_gateway(net: LoopbackServer, gateway: Running) -> None:
    account = gateway.account()
    device_id = link_by_qr(net, account, OURS)
    net.faults.withhold_acks = True
    started = time.monotonic()
    body = {"deviceId": device_id, "to": THEIRS, "text": "x"}
    answer = account.http.post("/messages/send-text", json=body, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    assert time.monotonic() - started < 5
    assert httpx.get(f"{gateway.url}/healthz").status_code == 200
    assert account.ok("POST", f"/devices/{device_id}/disconnect")["status"] == "DISCONNECTED"
    account.message(answer.json()["id"], "unconfirmed")
