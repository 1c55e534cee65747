"""Files over HTTP, in and out, on a real gateway."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from media_rig import names, png, png64
from running import Account, Running, until

from appliance.engine.simulator_samples import SAMPLES
from appliance.model.message import MEDIA_KINDS

ANN = "628111222333"
SEND = "/messages/send-media"
TYPES = {
    "image": "imageMessage",
    "video": "videoMessage",
    "audio": "audioMessage",
    "voice": "audioMessage",
    "document": "documentMessage",
    "sticker": "stickerMessage",
}


def form(account: Account, fields: Mapping[str, Any], data: bytes, **headers: str) -> httpx.Response:
    files = {"file": ("picture.png", data, "image/png")}
    return account.http.post(SEND, data=fields, files=files, headers=headers)


def outgoing(gateway: Running) -> list[str]:
    return names(gateway.data / "outgoing")


def received(account: Account, device_id: str, **message: Any) -> Any:
    """What was told of a file that somebody sent."""
    answer = account.ok("POST", f"/devices/{device_id}/sandbox/receive", {"kind": "image", **message})
    page = account.ok(
        "GET",
        f"/devices/{device_id}/events",
        params={"after": answer["eventId"] - 1, "types": "message.received"},
        headers={"Accept": "application/json"},
    )
    return page["items"][0]["data"]


@pytest.mark.parametrize("kind", MEDIA_KINDS)
def test_every_kind_is_sent_and_its_file_is_not_kept(shared: Running, account: Account, kind: str) -> None:
    device, sample = account.device(), SAMPLES[kind]
    text = base64.b64encode(sample.data).decode()
    body = {"deviceId": device, "to": ANN, "kind": kind, "base64": text, "caption": "Look"}
    answer = account.http.post(f"/api{SEND}", json=body)
    assert answer.status_code == 201, answer.text
    message = answer.json()
    content = message["content"][TYPES[kind]]
    assert (message["kind"], message["type"], message["text"]) == (kind, TYPES[kind], "Look")
    assert (content["mimetype"], content["fileLength"]) == (sample.mimetype, str(len(sample.data)))
    assert content.get("seconds") == sample.seconds
    until("empty folder", lambda: outgoing(shared) == [])


def test_a_form_is_taken_wherever_its_file_stands(shared: Running, account: Account) -> None:
    device = account.device()
    fields = {"deviceId": device, "to": ANN, "kind": "image", "caption": "Säge 🪚"}
    last = form(account, fields, png())
    assert last.status_code == 201, last.text
    assert last.json()["text"] == "Säge 🪚"
    parts: list[tuple[str, Any]] = [("file", ("picture.png", png(), "image/png"))]
    parts += [(name, (None, value)) for name, value in fields.items()]
    first = account.http.post(SEND, files=parts)
    assert first.status_code == 201, first.text
    document = form(account, {"deviceId": device, "to": ANN, "kind": "document"}, png())
    assert document.json()["content"]["documentMessage"]["fileName"] == "picture.png"
    until("empty folder", lambda: outgoing(shared) == [])


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"kind": "sticker", "base64": png64()}, 415, "unsupported_media_type", "kind"),
        ({"kind": "image", "base64": "not base64!"}, 422, "validation_failed", "base64"),
        ({"kind": "picture", "base64": png64()}, 422, "validation_failed", "kind"),
        ({"kind": "image"}, 422, "validation_failed", "url"),
        ({"kind": "image", "base64": png64(), "url": "https://a.test/"}, 422, "validation_failed", "url"),
        ({"kind": "document", "base64": png64(), "mimetype": "pdf"}, 422, "validation_failed", "mimetype"),
        ({"kind": "image", "url": "http://127.0.0.1:9/a.png"}, 422, "media_url_forbidden", "url"),
        ({"kind": "image", "url": "http://169.254.169.254/a"}, 422, "media_url_forbidden", "url"),
        ({"kind": "image", "url": "file:///etc/passwd"}, 422, "media_url_forbidden", "url"),
        ({"kind": "image", "url": "http://"}, 422, "validation_failed", "url"),
        ({"kind": "image", "base64": base64.b64encode(bytes(17 << 20)).decode()}, 413, "media_too_large", ""),
    ],
)
def test_a_file_that_cannot_be_sent_is_refused_and_costs_nothing(
    shared: Running, account: Account, fields: Mapping[str, Any], status: int, code: str, field: str
) -> None:
    device = account.device()
    problem = account.refused(status, code, "POST", SEND, {"deviceId": device, "to": ANN, **fields})
    assert not field or problem["errors"][0]["field"] == field
    until("empty folder", lambda: outgoing(shared) == [])
    answer = account.http.post("/messages/send-text", json={"deviceId": device, "to": ANN, "text": "x"})
    assert answer.headers["X-RateLimit-Remaining"] == "29"


def test_a_file_over_the_limit_is_refused_while_it_comes(start: Callable[..., Running]) -> None:
    gateway = start(settings={"media.max_bytes": 300_000})
    account = gateway.account()
    fields = {"deviceId": account.device(), "to": ANN, "kind": "document"}
    for size in (300_001, 3_000_000):
        refused = form(account, fields, bytes(size))
        assert refused.status_code == 413, refused.text
        assert refused.json()["code"] in {"media_too_large", "body_too_large"}
    assert form(account, fields, bytes(300_000)).status_code == 201
    until("empty folder", lambda: outgoing(gateway) == [])


def test_the_same_key_sends_the_same_file_once(shared: Running, account: Account) -> None:
    fields = {"deviceId": account.device(), "to": ANN, "kind": "image"}
    key = {"Idempotency-Key": "invoice-7"}
    first = form(account, fields, png(), **key)
    again = form(account, dict(reversed(fields.items())), png(), **key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.json() == again.json()
    other = form(account, fields, png(9, 9), **key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    until("empty folder", lambda: outgoing(shared) == [])


def test_a_rehearsal_keeps_nothing(shared: Running, account: Account) -> None:
    fields = {"deviceId": account.device(), "to": ANN, "kind": "image", "dryRun": "true"}
    answer = form(account, fields, png())
    assert (answer.status_code, answer.json()["dryRun"]) == (200, True)
    assert account.ok("GET", "/messages")["items"] == []
    until("empty folder", lambda: outgoing(shared) == [])


def test_a_file_that_waits_survives_a_crash_and_is_sent(start: Callable[..., Running]) -> None:
    gateway = start()
    account = gateway.account()
    device = account.device()
    account.ok("POST", f"/devices/{device}/sandbox/state", {"status": "RECONNECTING"})
    body = {"deviceId": device, "to": ANN, "kind": "image", "base64": png64()}
    answer = account.http.post(SEND, json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    [name] = outgoing(gateway)
    (gateway.data / "outgoing" / "stray").write_bytes(b"left by a crash")
    gateway.kill()
    gateway.start()
    message = until("sent message", lambda: _sent(account, answer.json()["id"]))
    assert message["messageId"]
    until("empty folder", lambda: name not in outgoing(gateway))
    assert "stray" not in outgoing(gateway)


def test_a_received_file_opens_by_its_link_and_by_its_message(account: Account) -> None:
    device = account.device()
    data = SAMPLES["document"].data
    told = received(account, device, kind="document", filename="Rechnung März.pdf", caption="Hier")
    media = told["media"]
    assert (media["kind"], media["mimetype"], media["size"]) == ("document", "application/pdf", len(data))
    assert (told["text"], media["filename"]) == ("Hier", "Rechnung März.pdf")
    by_link = httpx.get(media["url"])
    by_message = account.http.get(f"/messages/{told['id']}/media")
    by_wa_id = account.http.get(f"/api/messages/{told['messageId']}/media")
    for answer in (by_link, by_message, by_wa_id):
        assert answer.status_code == 200
        assert answer.content == data
        assert answer.headers["content-type"] == "application/pdf"
        assert answer.headers["content-length"] == str(len(data))
        assert answer.headers["content-disposition"].startswith("attachment; ")
        assert "filename*=UTF-8''Rechnung%20M%C3%A4rz.pdf" in answer.headers["content-disposition"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]


def test_a_file_sent_to_the_sandbox_comes_back_byte_for_byte(account: Account) -> None:
    told = received(account, account.device(), base64=png64(), filename="mine.png")
    found = httpx.get(told["media"]["url"]).content
    assert hashlib.sha256(found).digest() == hashlib.sha256(png()).digest()
    assert told["media"]["filename"] == "mine.png"


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=100-", 206, 100, None),
        ("bytes=-7", 206, -7, None),
        ("bytes=5-999999", 206, 5, None),
        ("bytes=0-1,4-5", 200, 0, None),
        ("lines=1-2", 200, 0, None),
    ],
)
def test_ranges(account: Account, asked: str, status: int, start: int, end: int | None) -> None:
    told, data = received(account, account.device()), SAMPLES["image"].data
    answer = account.http.get(f"/messages/{told['id']}/media", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (status, data[start:end])
    if status == 206:
        first = start % len(data)
        last = first + len(answer.content) - 1
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(data)}"
    beyond = account.http.get(f"/messages/{told['id']}/media", headers={"Range": f"bytes={len(data)}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{len(data)}"


def test_nobody_else_reads_a_file(shared: Running, account: Account) -> None:
    told = received(account, account.device())
    link = told["media"]["url"]
    stranger = shared.account()
    stranger.refused(404, "not_found", "GET", f"/messages/{told['id']}/media")
    assert httpx.get(f"{shared.url}/messages/{told['id']}/media").status_code == 401
    for changed in (link[:-1], link.replace("expires=", "expires=9"), link.partition("?")[0]):
        answer = httpx.get(changed)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), changed
    assert httpx.get(link.replace("/api/", "/")).status_code == 200


def test_a_file_that_could_not_be_fetched_says_so(account: Account) -> None:
    told = received(account, account.device(), failDownload=True)
    assert told["media"]["error"] == "media_unavailable"
    assert "url" not in told["media"]
    account.refused(404, "media_unavailable", "GET", f"/messages/{told['id']}/media")


def test_a_message_without_a_file_has_none(account: Account) -> None:
    sent = account.send(account.device(), ANN)
    account.refused(404, "not_found", "GET", f"/messages/{sent['id']}/media")


def test_a_deleted_device_leaves_no_files(shared: Running, account: Account) -> None:
    device = account.device()
    media_id = received(account, device)["media"]["id"]
    assert media_id in names(Path(shared.data / "media"))
    account.ok("DELETE", f"/devices/{device}")
    until("deleted file", lambda: media_id not in names(shared.data / "media"))


def _sent(account: Account, message_id: str) -> Any:
    message = account.ok("GET", f"/messages/{message_id}")
    return message if message["status"] in {"sent", "delivered", "read"} else None
