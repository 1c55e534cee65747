"""The rate limit as callers meet it: thirty a minute, told on every answer, remembered over a restart."""

from collections.abc import Callable

from running import Account, Running


def test_the_thirty_first_message_is_refused(account: Account) -> None:
    device_id = account.device()
    for n in range(30):
        answer = account.http.post(
            "/messages/send-text", json={"deviceId": device_id, "to": "628111222333", "text": f"{n}"}
        )
        assert answer.status_code == 201
        assert answer.headers["x-ratelimit-limit"] == "30"
        assert answer.headers["x-ratelimit-remaining"] == str(29 - n)
    body = {"deviceId": device_id, "to": "628111222333", "text": "one too many"}
    refused = account.http.post("/messages/send-text", json=body)
    assert refused.status_code == 429
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining"] == "0"
    other = account.device("other")
    assert account.send(other, "628111222333")["status"] == "sent"


def test_a_refusal_takes_no_token(account: Account) -> None:
    device_id = account.device()
    for to in ("999000000022", "999000000063", "999000000029", "nonsense"):
        answer = account.http.post("/messages/send-text", json={"deviceId": device_id, "to": to, "text": "x"})
        assert answer.status_code in {409, 422, 429}
        assert answer.headers["x-ratelimit-remaining"] == "30", to


def test_a_kill_does_not_refill_the_bucket(start: Callable[..., Running]) -> None:
    gateway = start(settings={"limits.messages_per_minute": 5})
    account = gateway.account()
    device_id = account.device()
    for n in range(5):
        account.send(device_id, "628111222333", f"{n}")
    gateway.kill()
    gateway.start()
    account.connected(device_id)
    body = {"deviceId": device_id, "to": "628111222333", "text": "again"}
    account.refused(429, "rate_limited", "POST", "/messages/send-text", body)
