"""Webhooks over HTTP: made, shown, changed, tested, replayed; and nobody else's business."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from delivery_rig import eventually
from receiver import Receiver
from running import Account, Running
from standardwebhooks.webhooks import Webhook

ROUTES = [
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/rotate-secret"),
    ("POST", "/test"),
    ("GET", "/deliveries"),
    ("GET", "/deliveries/c0"),
    ("POST", "/deliveries/c0/replay"),
    ("POST", "/replay"),
]
NOWHERE = "http://127.0.0.1:9999/hook"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as ready:
        yield ready


def made(account: Account, url: str = "http://127.0.0.1:9999/hook", **more: Any) -> Any:
    return account.ok("POST", "/webhooks", {"url": url, **more})


def test_a_new_webhook_shows_everything_of_the_contract(account: Account) -> None:
    webhook = made(account, headers={"Authorization": "Bearer mine"})
    assert webhook["secret"].startswith("whsec_")
    assert webhook["events"] == ["message.received", "message.status", "device.status"]
    assert webhook["headers"] == {"Authorization": "********"}
    assert (webhook["status"], webhook["enabled"], webhook["failingSince"]) == ("ok", True, None)
    assert (webhook["deviceId"], webhook["filters"], webhook["redirectIsSuccess"]) == (None, {}, False)
    assert "standardSecret" not in webhook
    assert account.ok("GET", f"/webhooks/{webhook['id']}") == webhook
    assert account.ok("GET", f"/api/webhooks/{webhook['id']}") == webhook
    assert account.ok("GET", "/webhooks") == {"items": [webhook], "nextCursor": None}
    assert account.http.delete(f"/webhooks/{webhook['id']}").status_code == 204
    account.refused(404, "not_found", "GET", f"/webhooks/{webhook['id']}")


def test_null_and_empty_fields_are_absent_and_a_wrong_name_is_put_right(account: Account) -> None:
    webhook = made(account, deviceId="", events=None, secret="", headers=None, filters=None)
    assert webhook["deviceId"] is None
    wrong = {"url": NOWHERE, "event": ["message.received"]}
    problem = account.refused(422, "validation_failed", "POST", "/webhooks", wrong)
    assert problem["errors"][0]["field"] == "event"
    assert problem["errors"][0]["suggestion"] == "events"
    account.refused(422, "validation_failed", "POST", "/webhooks", {})
    account.refused(422, "validation_failed", "POST", "/webhooks", {"url": ""})


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("headers.Host", {"headers": {"Host": "elsewhere"}}),
        ("headers.Content-Type", {"headers": {"Content-Type": "text/plain"}}),
        ("headers.X-Webhook-Mine", {"headers": {"X-Webhook-Mine": "1"}}),
        ("headers.webhook-id", {"headers": {"webhook-id": "1"}}),
        ("headers.X Y", {"headers": {"X Y": "1"}}),
        ("headers.X-Line", {"headers": {"X-Line": "a\r\nEvil: 1"}}),
        ("headers", {"headers": {f"X-{i}": "1" for i in range(21)}}),
        ("headers", {"headers": {"X-A": "1", "x-a": "2"}}),
        ("events", {"events": []}),
        ("events[0]", {"events": ["message.sent"]}),
        ("secret", {"secret": "short"}),
        ("secret", {"secret": "with a blank inside"}),
        ("filters.chatKinds", {"filters": {"chatKinds": ["groups"]}}),
        ("filters.remoteJids", {"filters": {"remoteJids": ["nobody"]}}),
        ("filters.chatKind", {"filters": {"chatKind": ["group"]}}),
    ],
)
def test_what_cannot_be_is_refused_and_named(account: Account, field: str, body: dict[str, Any]) -> None:
    problem = account.refused(422, "validation_failed", "POST", "/webhooks", {"url": NOWHERE, **body})
    assert problem["errors"][0]["field"] == field


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:9/hook",
        "ftp://example.org/",
        "http://user:pass@example.org/",
        "http://0x7f.1/",
        "http://[::ffff:169.254.169.254]/",
        "not a url",
    ],
)
def test_forbidden_addresses_are_refused_when_made_and_when_changed(account: Account, url: str) -> None:
    account.refused(422, "webhook_url_forbidden", "POST", "/webhooks", {"url": url})
    path = f"/webhooks/{made(account)['id']}"
    account.refused(422, "webhook_url_forbidden", "PATCH", path, {"url": url})


def test_the_setting_that_would_allow_an_address_is_named(shared: Running, account: Account) -> None:
    # With a second account here, only what webhooks.allow lists is left of the private networks.
    shared.account()
    problem = account.refused(
        422, "webhook_url_forbidden", "POST", "/webhooks", {"url": "http://192.168.1.5/"}
    )
    assert 'webhooks.allow = ["private"]' in problem["detail"]
    assert problem["errors"][0]["suggestion"] == 'webhooks.allow = ["private"]'


def test_the_gateway_itself_is_never_a_receiver(account: Account) -> None:
    account.refused(422, "webhook_url_forbidden", "POST", "/webhooks", {"url": f"{account.url}/hook"})


def test_a_change_keeps_what_it_does_not_name(account: Account) -> None:
    webhook = made(account, headers={"Authorization": "Bearer mine", "X-Own": "1"}, events=["device.status"])
    path = f"/webhooks/{webhook['id']}"
    changed = account.ok("PATCH", path, {"enabled": False, "filters": {"fromMe": False}})
    assert changed == {**webhook, "enabled": False, "filters": {"fromMe": False}}
    kept = account.ok("PATCH", path, {"headers": {"Authorization": "********", "X-New": "2"}})
    assert list(kept["headers"]) == ["Authorization", "X-New"]
    account.refused(409, "conflict", "POST", f"{path}/test")


def test_a_webhook_of_one_device_can_listen_to_all_again(account: Account) -> None:
    device = account.device()
    webhook = made(account, deviceId=device)
    path = f"/webhooks/{webhook['id']}"
    assert account.ok("PATCH", path, {"events": ["device.status"]})["deviceId"] == device
    assert account.ok("PATCH", path, {"deviceId": None})["deviceId"] == device
    assert account.ok("PATCH", path, {"deviceId": "all"})["deviceId"] is None
    assert account.ok("PATCH", path, {"deviceId": device})["deviceId"] == device


async def test_a_callers_own_secret_serves_both_signatures(account: Account, receiver: Receiver) -> None:
    webhook = made(account, receiver.url, secret="a-secret-of-my-own")
    assert webhook["secret"] == "a-secret-of-my-own"
    account.ok("POST", f"/webhooks/{webhook['id']}/test")
    [got] = await receiver.wait_for(1)
    assert Webhook(webhook["standardSecret"]).verify(got.body.decode(), got.headers)


async def test_a_test_event_goes_to_its_webhook_alone(account: Account, receiver: Receiver) -> None:
    async with Receiver() as other:
        made(account, other.url)
        webhook = made(account, receiver.url, events=["device.status"], headers={"X-Own": "yes"})
        delivery = account.ok("POST", f"/webhooks/{webhook['id']}/test")
        assert delivery["status"] == "pending"
        [got] = await receiver.wait_for(1)
        assert got.data["test"] is True
        assert got.data["eventId"] == delivery["eventId"] == got.event_no
        assert got.headers["x-webhook-event"] == "device.status"
        assert got.headers["x-own"] == "yes"
        assert other.received == []


async def test_deliveries_are_listed_with_their_attempts_and_replayed(
    account: Account, receiver: Receiver
) -> None:
    webhook = made(account, receiver.url)
    path = f"/webhooks/{webhook['id']}"
    ids = [account.ok("POST", f"{path}/test")["id"] for _ in range(3)]
    await receiver.wait_for(3)
    listed = f"{path}/deliveries?status=delivered"
    await eventually(lambda: len(account.ok("GET", listed)["items"]) == 3, every_s=0.05)
    first = account.ok("GET", f"{path}/deliveries?limit=2")
    assert [each["id"] for each in first["items"]] == [ids[2], ids[1]]
    rest = account.ok("GET", f"{path}/deliveries?limit=2&cursor={first['nextCursor']}")
    assert [each["id"] for each in rest["items"]] == [ids[0]]
    other = f"{path}/deliveries?status=dead&cursor={first['nextCursor']}"
    account.refused(422, "cursor_mismatch", "GET", other)
    one = account.ok("GET", f"{path}/deliveries/{ids[0]}")
    assert (one["status"], one["attemptCount"], one["lastStatus"]) == ("delivered", 1, 200)
    assert [(each["attempt"], each["status"]) for each in one["attempts"]] == [(1, 200)]
    account.ok("POST", f"{path}/deliveries/{ids[0]}/replay")
    again = (await receiver.wait_for(4))[3]
    assert (again.attempt, again.body) == (2, receiver.received[0].body)
    assert account.ok("POST", f"{path}/replay", {"since": 0, "status": "dead"}) == {"replayed": 0}

    def all_replayed() -> bool:
        return bool(account.ok("POST", f"{path}/replay", {"since": 0})["replayed"] == 3)

    await eventually(all_replayed, every_s=0.1)
    await receiver.wait_for(7)


async def test_a_message_reaches_the_webhook_of_its_device(account: Account, receiver: Receiver) -> None:
    device_id = account.device()
    webhook = made(account, receiver.url, deviceId=device_id, events=["message.received"])
    other = account.device("other")
    account.ok("POST", f"/devices/{other}/sandbox/receive", {"text": "not this one"})
    told = account.ok("POST", f"/devices/{device_id}/sandbox/receive", {"text": "Halo 👋\u2028 <b>"})
    [got] = await receiver.wait_for(1)
    assert got.event_no == told["eventId"]
    assert got.data["text"] == "Halo 👋\u2028 <b>"
    assert Webhook(webhook["secret"]).verify(got.body.decode(), got.headers)
    account.ok("DELETE", f"/devices/{device_id}")
    account.refused(404, "not_found", "GET", f"/webhooks/{webhook['id']}")


async def test_a_rotated_secret_is_shown_and_used(account: Account, receiver: Receiver) -> None:
    webhook = made(account, receiver.url)
    path = f"/webhooks/{webhook['id']}"
    rotated = account.ok("POST", f"{path}/rotate-secret")
    assert rotated["secret"] != webhook["secret"]
    assert account.ok("POST", f"{path}/rotate-secret", {"secret": "z" * 32})["secret"] == "z" * 32
    account.ok("POST", f"{path}/test")
    [got] = await receiver.wait_for(1)
    assert len(got.headers["x-webhook-signature"]) == 64
    assert len(got.headers["x-webhook-signature-previous"]) == 64
    assert Webhook(rotated["secret"]).verify(got.body.decode(), got.headers)


@pytest.mark.parametrize(("method", "tail"), ROUTES)
def test_another_accounts_webhook_does_not_exist(
    shared: Running, account: Account, method: str, tail: str
) -> None:
    webhook = made(account)
    body = {"since": 0} if tail == "/replay" else {} if method in {"POST", "PATCH"} else None
    shared.account().refused(404, "not_found", method, f"/webhooks/{webhook['id']}{tail}", body)


def test_another_accounts_device_does_not_exist_either(shared: Running, account: Account) -> None:
    device_id = shared.account().ok("POST", "/devices", {"name": "theirs", "sandbox": True})["id"]
    account.refused(404, "not_found", "POST", "/webhooks", {"url": NOWHERE, "deviceId": device_id})
