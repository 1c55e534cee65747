"""How long a sender waits, and for what."""

import time

from running import Account


def test_a_device_that_reconnects_is_not_waited_for(account: Account) -> None:
    device_id = account.device()
    account.ok("POST", f"/devices/{device_id}/sandbox/state", {"status": "RECONNECTING"})
    started = time.monotonic()
    body = {"deviceId": device_id, "to": "628111222333", "text": "later"}
    answer = account.http.post("/messages/send-text", json=body)
    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"
    assert time.monotonic() - started < 5
    account.ok("POST", f"/devices/{device_id}/sandbox/state", {"status": "CONNECTED"})
    account.message(answer.json()["id"], "read")


def test_who_asks_to_wait_waits_for_a_device_that_comes_back(account: Account) -> None:
    device_id = account.device()
    account.ok("POST", f"/devices/{device_id}/sandbox/state", {"status": "RECONNECTING"})
    account.ok("POST", f"/devices/{device_id}/sandbox/state", {"status": "CONNECTED", "afterMs": 300})
    body = {"deviceId": device_id, "to": "628111222333", "text": "soon"}
    answer = account.http.post("/messages/send-text", json=body, headers={"Prefer": "wait=10"})
    assert answer.status_code == 201
    assert answer.headers["preference-applied"] == "wait=10"


def test_what_waited_too_long_fails_as_expired(account: Account) -> None:
    device_id = account.device()
    account.ok("POST", f"/devices/{device_id}/sandbox/state", {"status": "RECONNECTING"})
    sent = account.send(device_id, "628111222333", expiresIn=1)
    assert account.message(sent["id"], "failed")["error"]["code"] == "expired"
    account.ok("POST", f"/devices/{device_id}/sandbox/state", {"status": "CONNECTED"})
    later = account.send(device_id, "628111222333")
    assert later["status"] == "sent"


def test_unlinking_fails_what_waits(account: Account) -> None:
    device_id = account.device()
    account.ok("POST", f"/devices/{device_id}/sandbox/state", {"status": "RECONNECTING"})
    sent = account.send(device_id, "628111222333")
    account.ok("POST", f"/devices/{device_id}/sandbox/state", {"status": "LOGGED_OUT"})
    assert account.message(sent["id"], "failed")["error"]["code"] == "device_logged_out"
    refusal = {"deviceId": device_id, "to": "628111222333", "text": "x"}
    account.refused(409, "device_logged_out", "POST", "/messages/send-text", refusal)
