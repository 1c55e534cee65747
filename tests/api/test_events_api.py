"""Events over HTTP: streams begin with the present, replay the past and end when they must; lists wait."""

import threading
import time
from typing import Any

import httpx
import pytest
from running import Account, Running, until
from sse import following

ANN = "628111222333"
LIST = {"Accept": "application/json"}


def receive(account: Account, device: str, text: str) -> Any:
    return account.ok("POST", f"/devices/{device}/sandbox/receive", {"text": text})


def polled(account: Account, path: str = "/events", **query: Any) -> Any:
    return account.ok("GET", path, params=query, headers=LIST)


def test_linking_is_followed_from_the_first_moment(account: Account) -> None:
    device = account.ok("POST", "/devices", {"name": "x", "sandbox": True})["id"]
    with following(account.http, f"/devices/{device}/events") as stream:
        first = stream.next()
        assert (first.name, first.data["status"], first.id) == ("status", "DISCONNECTED", None)
        assert stream.retry_ms == 3000
        account.ok("POST", f"/devices/{device}/connect")
        shown = stream.next("qr")
        assert shown.data.keys() == {"deviceId", "qr", "image", "seq", "expiresAt"}
        assert shown.data["image"].startswith("data:image/svg+xml;base64,")
        assert shown.id is None
        account.ok("POST", f"/devices/{device}/sandbox/scan")
        while (told := stream.next("status")).data["status"] != "CONNECTED":
            pass
        assert told.id == told.data["eventId"]


def test_a_late_reader_is_shown_the_present_qr_code(account: Account) -> None:
    device = account.ok("POST", "/devices", {"name": "x", "sandbox": True})["id"]
    account.ok("POST", f"/devices/{device}/connect")
    qr = until("code", lambda: account.http.get(f"/devices/{device}/qr?format=json").json().get("qr"))
    with following(account.http, "/events") as stream:
        assert stream.next().data["status"] == "QR"
        assert stream.next().data["qr"] == qr


def test_messages_are_told_as_webhooks_tell_them(account: Account) -> None:
    device = account.device()
    with following(account.http, f"/devices/{device}/events") as stream:
        stream.next("status")
        received = receive(account, device, "Halo! \u2028 ünï 😀")
        told = stream.next("message.received")
        sent = account.send(device, ANN)
        statuses = [stream.next("message.status") for _ in range(3)]
    assert told.id == received["eventId"] == told.data["eventId"]
    assert told.data["content"] == {"conversation": "Halo! \u2028 ünï 😀"}
    assert [s.data["status"] for s in statuses] == ["sent", "delivered", "read"]
    assert {s.data["id"] for s in statuses} == {sent["id"]}
    [listed] = polled(account, after=received["eventId"] - 1, limit=1)["items"]
    assert listed["event"] == "message.received"
    assert listed["data"] == told.data


@pytest.mark.parametrize("how", ["header", "query"])
def test_a_reader_that_comes_back_misses_nothing(account: Account, how: str) -> None:
    device = account.device()
    seen = receive(account, device, "seen")["eventId"]
    missed = [receive(account, device, f"missed {n}")["eventId"] for n in range(25)]
    path = f"/devices/{device}/events"
    query = f"?lastEventId={seen}" if how == "query" else ""
    headers = {"Last_Event_ID": str(seen)} if how == "header" else {}
    with following(account.http, path + query, **headers) as stream:
        assert [stream.next().id for _ in missed] == missed
        assert stream.next_after(lambda: receive(account, device, "live")).data["text"] == "live"


def test_the_two_streams_share_one_sequence_and_keep_devices_apart(account: Account) -> None:
    one, two = account.device(), account.device()
    start = polled(account, limit=200)["nextCursor"]
    a, b = receive(account, one, "a")["eventId"], receive(account, two, "b")["eventId"]
    with following(account.http, "/events", Last_Event_ID=start) as stream:
        assert [stream.next().id, stream.next().id] == [a, b]
    with following(account.http, f"/devices/{two}/events", Last_Event_ID=start) as stream:
        assert stream.next().id == b


def test_a_point_that_never_was_is_a_gap(account: Account) -> None:
    device = account.device()
    oldest = polled(account, limit=1)["items"][0]["data"]["eventId"]
    with following(account.http, "/events", Last_Event_ID="999999999") as stream:
        gap = stream.next()
        assert (gap.name, gap.data, gap.id) == ("gap", {"oldest": oldest}, None)
        assert stream.next_after(lambda: receive(account, device, "on")).data["text"] == "on"
    problem = account.refused(410, "events_gone", "GET", "/events", params={"after": 999999999}, headers=LIST)
    assert problem["oldest"] == oldest


def test_types_narrow_a_stream(account: Account) -> None:
    device = account.device()
    with following(account.http, "/events?types=message.received", Last_Event_ID="0") as stream:
        assert stream.next_after(lambda: receive(account, device, "only")).name == "message.received"
    problem = account.refused(422, "validation_failed", "GET", "/events", params={"types": "message.sent"})
    assert "message.status" in problem["errors"][0]["suggestion"]


def test_rotating_the_key_ends_its_streams(account: Account) -> None:
    account.device()
    with following(account.http, "/events") as stream:
        stream.next("status")
        account.ok("POST", "/auth/rotate-key")
        began = time.monotonic()
        stream.rest()
        assert time.monotonic() - began < 5


def test_a_reader_that_goes_away_is_forgotten(shared: Running, account: Account) -> None:
    account.device()

    def open_streams() -> int:
        lines = httpx.get(f"{shared.url}/metrics").text.splitlines()
        [line] = [line for line in lines if line.startswith("wa_gateway_event_streams ")]
        return int(line.split()[1])

    with following(account.http, "/events") as stream:
        stream.next("status")
        assert open_streams() >= 1
    until("forgotten stream", lambda: open_streams() == 0)


def test_deleting_the_device_ends_its_stream(account: Account) -> None:
    device = account.device()
    with following(account.http, f"/devices/{device}/events") as stream:
        stream.next("status")
        account.ok("DELETE", f"/devices/{device}")
        stream.rest()


def test_a_ticket_opens_its_own_stream_again_and_again(shared: Running, account: Account) -> None:
    device = account.device()
    minted = account.ok("POST", "/events/ticket", {"deviceId": device})
    assert 50_000 < minted["expiresAt"] - time.time() * 1000 <= 60_000
    query = f"?ticket={minted['ticket']}"
    with httpx.Client(base_url=shared.url) as browser:
        for _ in range(2):
            with following(browser, f"/devices/{device}/events{query}") as stream:
                assert stream.next("status").data["deviceId"] == device
        for path in (f"/events{query}", f"/devices{query}", f"/messages{query}"):
            assert browser.get(path).status_code == 401
        assert browser.get(f"/devices/{device}/events{query}", headers=LIST).status_code == 401
        account.ok("POST", "/auth/rotate-key")
        assert browser.get(f"/devices/{device}/events{query}").status_code == 401
        assert browser.get("/events?ticket=nonsense").status_code == 401


def test_a_ticket_is_only_for_ones_own_device(shared: Running, account: Account) -> None:
    device = account.device()
    shared.account().refused(404, "not_found", "POST", "/events/ticket", {"deviceId": device})


def test_the_list_continues_where_it_stopped(account: Account) -> None:
    device = account.device()
    start = polled(account, limit=200)["nextCursor"]
    ids = [receive(account, device, f"text {n}")["eventId"] for n in range(5)]
    first = polled(account, after=start, limit=3)
    second = polled(account, after=first["nextCursor"], limit=3)
    assert [item["data"]["eventId"] for item in first["items"] + second["items"]] == ids
    third = polled(account, after=second["nextCursor"])
    assert third == {"items": [], "nextCursor": second["nextCursor"]}


def test_the_list_waits_for_the_next_event(account: Account) -> None:
    device = account.device()
    start = polled(account, limit=200)["nextCursor"]
    later = threading.Timer(0.5, receive, (account, device, "late"))
    later.start()
    began = time.monotonic()
    found = polled(account, f"/devices/{device}/events", after=start, wait=20)
    assert [item["data"]["text"] for item in found["items"]] == ["late"]
    assert 0.3 < time.monotonic() - began < 10
    later.join()


def test_the_list_stops_waiting_in_time(account: Account) -> None:
    account.device()
    start = polled(account, limit=200)["nextCursor"]
    began = time.monotonic()
    assert polled(account, after=start, wait=1)["items"] == []
    assert 0.9 < time.monotonic() - began < 5


@pytest.mark.parametrize("query", [{"wait": 26}, {"limit": 0}, {"after": -1}, {"after": "x"}, {"since": 1}])
def test_a_wrong_event_query_is_refused(account: Account, query: dict[str, Any]) -> None:
    problem = account.refused(422, "validation_failed", "GET", "/events", params=query, headers=LIST)
    assert problem["errors"][0]["field"] == next(iter(query))
