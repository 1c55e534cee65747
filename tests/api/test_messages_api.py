"""Sending and reading over HTTP: answers, refusals, limits, repeats, files."""

import base64
import struct
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from running import Account, Running, until

ANN = "628111222333"
TEXT = "/messages/send-text"
MEDIA = "/messages/send-media"


def png() -> bytes:
    """A picture of one grey pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00\x80")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def encoded() -> str:
    return base64.b64encode(png()).decode()


def listed(account: Account, **query: Any) -> list[str]:
    return [message["id"] for message in account.ok("GET", "/messages", params=query)["items"]]


def test_a_text_is_sent_and_said_to_be(account: Account) -> None:
    device = account.device()
    answer = account.http.post(TEXT, json={"deviceId": device, "to": "+62 811-1222-333", "text": "Halo!"})
    assert answer.status_code == 201
    message = answer.json()
    assert message["remoteJid"] == f"{ANN}@s.whatsapp.net"
    assert (message["status"], message["type"], message["content"]) == (
        "sent",
        "conversation",
        {"conversation": "Halo!"},
    )
    assert abs(message["timestamp"] - time.time()) < 60
    account.message(message["id"], "read")
    assert account.ok("GET", f"/messages/{message['messageId']}")["id"] == message["id"]


def test_the_device_may_be_left_out_when_there_is_one(account: Account) -> None:
    problem = account.refused(422, "device_required", "POST", TEXT, {"to": ANN, "text": "x"})
    assert problem["devices"] == []
    first = account.device()
    assert account.ok("POST", TEXT, {"to": ANN, "text": "x"})["deviceId"] == first
    account.device()
    problem = account.refused(422, "device_required", "POST", TEXT, {"to": ANN, "text": "x"})
    assert len(problem["devices"]) == 2


def test_who_does_not_wait_is_answered_at_once(account: Account) -> None:
    account.device()
    body = {"to": "999000000005", "text": "slow"}
    answer = account.http.post(TEXT, json=body, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
    began = time.monotonic()
    answer = account.http.post(TEXT, json=body, headers={"Prefer": "foo=1, wait=1"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=1")
    assert time.monotonic() - began >= 0.9
    assert answer.json()["status"] in {"queued", "sending"}


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"to": ANN}, "validation_failed", "text"),
        ({"to": ANN, "text": ""}, "validation_failed", "text"),
        ({"to": ANN, "text": "x", "expiresIn": 0}, "validation_failed", "expiresIn"),
        ({"chatId": ANN, "text": "x"}, "validation_failed", "chatId"),
        ({"to": "nobody", "text": "x"}, "invalid_recipient", "to"),
        ({"to": ANN, "text": "x", "mentions": [ANN, "?"]}, "invalid_recipient", "mentions[1]"),
        ({"to": ANN, "text": "x", "replyTo": "unknown"}, "validation_failed", "replyTo"),
    ],
)
def test_a_wrong_message_is_refused_by_field_and_costs_nothing(
    account: Account, body: dict[str, Any], code: str, field: str
) -> None:
    device = account.device()
    answer = account.http.post(TEXT, json={"deviceId": device, **body})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert field in {error["field"] for error in answer.json()["errors"]}
    assert answer.headers["x-ratelimit-remaining"] == "30"
    assert listed(account) == []


@pytest.mark.parametrize(
    ("to", "status", "code", "stored"),
    [
        ("999000000022", 422, "not_on_whatsapp", True),
        ("999000000063", 409, "reachout_restricted", True),
        ("120363999000000002@g.us", 403, "not_in_group", True),
        ("999000000029", 429, "rate_limited", False),
        ("999000000053", 503, "queue_full", False),
        ("999000000057", 507, "storage_full", False),
    ],
)
def test_refusals_say_which_and_take_no_token(
    account: Account, to: str, status: int, code: str, stored: bool
) -> None:
    device = account.device()
    answer = account.http.post(TEXT, json={"deviceId": device, "to": to, "text": "x"})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["status"]) == (status, code, status)
    assert answer.headers["x-ratelimit-remaining"] == "30"
    assert ("message" in problem) == stored
    assert len(listed(account)) == stored
    if stored:
        assert problem["message"]["status"] == "failed"


def test_a_device_that_cannot_send_says_why_and_what_to_do(account: Account) -> None:
    device = account.ok("POST", "/devices", {"name": "x", "sandbox": True})["id"]
    body = {"deviceId": device, "to": ANN, "text": "x"}
    problem = account.refused(409, "device_not_linked", "POST", TEXT, body)
    assert problem["nextStep"]["path"] == f"/api/devices/{device}/connect"
    account.ok("POST", f"/devices/{device}/connect")
    account.ok("POST", f"/devices/{device}/sandbox/scan")
    account.connected(device)
    account.ok("POST", f"/devices/{device}/disconnect")
    account.refused(409, "device_disconnected", "POST", TEXT, body)


def test_the_thirty_first_message_of_a_minute_is_refused(account: Account) -> None:
    device, other = account.device(), account.device()
    body = {"deviceId": device, "to": "999000000001", "text": "x"}
    for left in range(29, -1, -1):
        answer = account.http.post(TEXT, json=body, headers={"Prefer": "respond-async"})
        assert answer.status_code in {201, 202}
        assert answer.headers["x-ratelimit-limit"] == "30"
        assert answer.headers["x-ratelimit-remaining"] == str(left)
        assert 0 < int(answer.headers["x-ratelimit-reset"]) - time.time() <= 61
        assert answer.headers["ratelimit-policy"] == '"messages";q=30;w=60'
        assert answer.headers["ratelimit"].startswith(f'"messages";r={left};t=')
    refused = account.http.post(TEXT, json=body)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.json()["retryable"] is True
    media = {"deviceId": device, "to": ANN, "kind": "image", "base64": encoded()}
    assert account.refused(429, "rate_limited", "POST", MEDIA, media)
    assert account.ok("POST", TEXT, {**body, "deviceId": other})


def test_limits_can_be_turned_off(start: Callable[..., Running]) -> None:
    account = start(settings={"limits.messages_per_minute": 0}).account()
    device = account.device()
    for _ in range(31):
        answer = account.http.post(TEXT, json={"deviceId": device, "to": "999000000001", "text": "x"})
        assert answer.status_code == 201
    assert "x-ratelimit-limit" not in answer.headers


def test_a_rehearsal_stores_nothing(account: Account) -> None:
    device = account.device()
    for to, registered in ((ANN, True), ("999000000022", False)):
        answer = account.ok("POST", TEXT, {"to": to, "text": "x", "dryRun": True})
        assert (answer["dryRun"], answer["registered"]) == (True, registered)
        assert (answer["deviceStatus"], answer["rateLimit"]["remaining"]) == ("CONNECTED", 30)
    media = {"deviceId": device, "to": ANN, "kind": "image", "base64": encoded(), "dryRun": True}
    assert account.ok("POST", MEDIA, media)["dryRun"] is True
    assert listed(account) == []


def test_a_repeat_is_answered_with_the_first_message(account: Account) -> None:
    device = account.device()
    key = {"Idempotency-Key": "order-17"}
    body = {"deviceId": device, "to": ANN, "text": "x"}
    first = account.http.post(TEXT, json=body, headers=key)
    again = account.http.post(
        f"/api{TEXT}", content=f' {{"text":"x","to":"{ANN}","deviceId":"{device}"}}', headers=key
    )
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert again.headers["x-ratelimit-remaining"] == "29"
    account.refused(422, "idempotency_key_reused", "POST", TEXT, {**body, "text": "y"}, headers=key)
    assert len(listed(account)) == 1


@pytest.mark.parametrize("key", ["x" * 256, "a b", "ä".encode().decode("latin-1")])
def test_a_key_that_is_none_is_refused(account: Account, key: str) -> None:
    account.device()
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    answer = account.http.post(TEXT, json={"to": ANN, "text": "x"}, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def test_a_repeated_refusal_is_the_same_refusal(account: Account) -> None:
    account.device()
    body, key = {"to": "999000000022", "text": "x"}, {"Idempotency-Key": "k"}
    first = account.refused(422, "not_on_whatsapp", "POST", TEXT, body, headers=key)
    again = account.refused(422, "not_on_whatsapp", "POST", TEXT, body, headers=key)
    assert again["message"]["id"] == first["message"]["id"]


def test_a_hundred_at_once_with_one_key_send_once(account: Account) -> None:
    device = account.device()
    body = {"deviceId": device, "to": ANN, "text": "once"}

    def post(_: int) -> Any:
        return account.ok("POST", TEXT, body, headers={"Idempotency-Key": "one"})["id"]

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(post, range(100)))) == 1
    assert len(listed(account)) == 1


def test_a_picture_is_sent_as_base64_and_as_a_form(account: Account) -> None:
    device = account.device()
    fields = {"deviceId": device, "to": ANN, "kind": "image", "caption": "[a] ünïcode", "replyTo": ""}
    message = account.ok("POST", MEDIA, {**fields, "base64": encoded()})
    assert (message["kind"], message["type"], message["text"]) == ("image", "imageMessage", "[a] ünïcode")
    key = {"Idempotency-Key": "picture"}
    for replayed in (False, True):
        file = {"file": ("grey.png", png(), "image/png")}
        answer = account.http.post(MEDIA, data={**fields, "expiresIn": "60"}, files=file, headers=key)
        assert answer.status_code == 201, answer.text
        assert ("idempotent-replayed" in answer.headers) == replayed
    other = {"file": ("grey.png", png() + b"more", "image/png")}
    answer = account.http.post(MEDIA, data={**fields, "expiresIn": "60"}, files=other, headers=key)
    assert answer.json()["code"] == "idempotency_key_reused"
    assert len(listed(account)) == 2


def test_sent_files_do_not_stay_on_disk(start: Callable[..., Running]) -> None:
    gateway = start()
    account = gateway.account()
    device = account.device()
    body = {"deviceId": device, "to": ANN, "kind": "image", "base64": encoded()}
    account.ok("POST", MEDIA, body)
    account.refused(422, "not_on_whatsapp", "POST", MEDIA, {**body, "to": "999000000022"})
    account.refused(422, "validation_failed", "POST", MEDIA, {**body, "replyTo": "unknown"})
    account.http.post(MEDIA, data={"to": ANN}, files={"file": ("x", png())})
    account.http.post(MEDIA, data={"to": ANN, "kind": "voice"}, files={"file": ("x", png())})
    outgoing = gateway.data / "outgoing"
    until("empty folder", lambda: not list(outgoing.iterdir()))


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"kind": "hologram"}, 422, "validation_failed"),
        ({"base64": None}, 422, "validation_failed"),
        ({"url": "https://files.example/x.png"}, 422, "validation_failed"),
        ({"base64": "***"}, 422, "validation_failed"),
        ({"kind": "voice"}, 415, "unsupported_media_type"),
        ({"base64": None, "url": "http://127.0.0.1:1/x.png"}, 422, "media_url_forbidden"),
        ({"base64": None, "url": "ftp://files.example/x.png"}, 422, None),
    ],
)
def test_a_wrong_file_is_refused(
    account: Account, change: dict[str, Any], status: int, code: str | None
) -> None:
    account.device()
    body = {"to": ANN, "kind": "image", "base64": encoded(), **change}
    answer = account.http.post(MEDIA, json=body)
    assert answer.status_code == status, answer.text
    assert code in {None, answer.json()["code"]}
    assert listed(account) == []


@pytest.mark.parametrize("body", [b"", b"--x\r\nnonsense", b"no boundary at all"])
def test_a_broken_form_is_refused(account: Account, body: bytes) -> None:
    account.device()
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = account.http.post(MEDIA, content=body, headers=headers)
    assert answer.status_code in {400, 422}, answer.text


def test_a_received_file_is_served_whole_and_in_parts(account: Account) -> None:
    device = account.device()
    file = bytes(range(256)) * 8
    body = {"kind": "document", "base64": base64.b64encode(file).decode(), "filename": "böse\r\n.html"}
    received = account.ok("POST", f"/devices/{device}/sandbox/receive", body)
    path = f"/messages/{received['id']}/media"
    whole = account.http.get(path)
    assert (whole.status_code, whole.content) == (200, file)
    assert whole.headers["content-disposition"].startswith("attachment;")
    assert (whole.headers["x-content-type-options"], whole.headers["accept-ranges"]) == ("nosniff", "bytes")
    for asked, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=2040-", 2040, 2048),
        ("bytes=-5", 2043, 2048),
        ("bytes=2000-9999", 2000, 2048),
    ):
        part = account.http.get(path, headers={"Range": asked})
        assert (part.status_code, part.content) == (206, file[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/2048"
    for ignored in ("bytes=0-1,5-6", "lines=1-2"):
        assert account.http.get(path, headers={"Range": ignored}).content == file
    changed = account.http.get(path, headers={"Range": "bytes=0-0", "If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, file)
    beyond = account.http.get(path, headers={"Range": "bytes=4000-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */2048")


def test_messages_are_filtered_and_paged(account: Account) -> None:
    one, two = account.device(), account.device()
    ids = [
        account.send(device, f"62811122230{n}", f"text {n}")["id"] for n in range(3) for device in (one, two)
    ]
    assert listed(account) == ids[::-1]
    assert listed(account, deviceId=one) == ids[::2][::-1]
    assert listed(account, remoteJid="+62 811 1222 301") == [ids[3], ids[2]]
    assert listed(account, kind="image") == []
    assert set(listed(account, fromMe="true")) == set(ids)
    assert listed(account, fromMe="false") == []
    times = {m["id"]: m["createdAt"] for m in account.ok("GET", "/messages")["items"]}
    assert ids[5] in listed(account, since=times[ids[5]])
    assert ids[5] not in listed(account, until=times[ids[5]])
    page = account.ok("GET", "/messages", params={"deviceId": one, "limit": 2})
    rest = account.ok("GET", "/messages", params={"deviceId": one, "limit": 2, "cursor": page["nextCursor"]})
    assert [m["id"] for m in page["items"] + rest["items"]] == ids[::2][::-1]
    wrong = {"deviceId": two, "cursor": page["nextCursor"]}
    account.refused(422, "cursor_mismatch", "GET", "/messages", params=wrong)


def test_messages_are_searched(account: Account) -> None:
    device, other = account.device("one"), account.device("two")
    cafe = account.send(device, ANN, "Sampai besok di Café!")["id"]
    order = account.send(other, ANN, "Pesanan besok")["id"]
    file = {
        "to": ANN,
        "deviceId": other,
        "kind": "document",
        "base64": encoded(),
        "filename": "Faktur 17.png",
    }
    invoice = account.ok("POST", MEDIA, file)["id"]
    assert listed(account, q="besok") == [order, cafe]
    assert listed(account, q="cafe BESOK") == [cafe]
    assert listed(account, q='"besok di"') == [cafe]
    assert listed(account, q="pes*", deviceId=other) == [order]
    assert listed(account, q="besok", deviceId=device) == [cafe]
    assert listed(account, q="faktur") == listed(account, q="faktur", kind="document") == [invoice]
    assert listed(account, q="besok", kind="document") == listed(account, q="NOT besok") == []
    page = account.ok("GET", "/messages", params={"q": "besok", "limit": 1})
    assert [message["id"] for message in page["items"]] == [order]
    assert listed(account, q="besok", limit=1, cursor=page["nextCursor"]) == [cafe]
    account.refused(422, "cursor_mismatch", "GET", f"/messages?q=other&cursor={page['nextCursor']}")


@pytest.mark.parametrize("typed", ['"', "*", "a OR", "text:x", "{", "(", "NEAR(", "\0", "-", "'", "😀", "½*"])
def test_whatever_is_searched_for_is_no_error(account: Account, typed: str) -> None:
    assert listed(account, q=typed) == []


def test_an_endless_search_is_refused(account: Account) -> None:
    account.refused(422, "validation_failed", "GET", f"/messages?q={'x' * 501}")


def test_nobody_reads_or_sends_for_somebody_else(shared: Running, account: Account) -> None:
    device = account.device()
    message = account.send(device, ANN)
    other = shared.account()
    for path in (
        f"/messages/{message['id']}",
        f"/messages/{message['messageId']}",
        f"/messages/{message['id']}/media",
    ):
        other.refused(404, "not_found", "GET", path)
    assert listed(other) == []
    other.refused(404, "not_found", "GET", "/messages", params={"deviceId": device})
    answer = other.http.post(TEXT, json={"deviceId": device, "to": ANN, "text": "x"})
    assert answer.status_code == 404
    assert "x-ratelimit-limit" not in answer.headers
    other.device()
    body = {"to": ANN, "text": "x", "replyTo": message["id"]}
    other.refused(422, "validation_failed", "POST", TEXT, body)
