"""Devices over HTTP: made, linked, shown, let go; and nobody else's business."""

import json
import zlib

import pytest
from running import Account, Running, until

ROUTES = [
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/connect"),
    ("POST", "/disconnect"),
    ("POST", "/logout"),
    ("POST", "/pair-code"),
    ("GET", "/qr"),
    ("GET", "/limits"),
    ("GET", "/events"),
    ("POST", "/sandbox/scan"),
    ("POST", "/sandbox/state"),
    ("POST", "/sandbox/receipt"),
    ("POST", "/sandbox/receive"),
]


def fresh(account: Account, **more: object) -> str:
    """A new sandbox device, not linked."""
    return str(account.ok("POST", "/devices", {"name": "till 1", "sandbox": True, **more})["id"])


def showing(account: Account, device_id: str) -> None:
    """Connect the device and wait for its QR code."""
    account.ok("POST", f"/devices/{device_id}/connect")
    until("QR code", lambda: account.ok("GET", f"/devices/{device_id}")["status"] == "QR")


def test_a_new_device_is_not_linked(account: Account) -> None:
    answer = account.http.post("/devices", json={"name": "till 1", "sandbox": True, "proxy": None})
    assert answer.status_code == 201
    device = answer.json()
    assert device == {
        "id": device["id"],
        "name": "till 1",
        "status": "DISCONNECTED",
        "reason": None,
        "reasonCode": None,
        "until": None,
        "linked": False,
        "sandbox": True,
        "phone": None,
        "jid": None,
        "lid": None,
        "pushName": None,
        "queued": 0,
        "proxy": None,
        "createdAt": device["createdAt"],
        "connectedAt": None,
    }
    assert account.ok("GET", f"/devices/{device['id']}") == device


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": 3}, "name"),
        ({"nmae": "x"}, "nmae"),
        ({"name": "x", "sandbox": "yes"}, "sandbox"),
        ({"name": "x", "proxy": "nonsense"}, "proxy"),
    ],
)
def test_a_wrong_device_is_refused_by_field(account: Account, body: object, field: str) -> None:
    problem = account.refused(422, "validation_failed", "POST", "/devices", body)
    assert field in {error["field"] for error in problem["errors"]}
    assert account.ok("GET", "/devices")["items"] == []


def test_devices_are_listed_newest_first_in_pages(account: Account) -> None:
    made = [fresh(account) for _ in range(5)]
    first = account.ok("GET", "/devices", params={"limit": 2})
    second = account.ok("GET", "/devices", params={"limit": 2, "cursor": first["nextCursor"]})
    third = account.ok("GET", "/devices", params={"limit": 2, "cursor": second["nextCursor"]})
    listed = [device["id"] for page in (first, second, third) for device in page["items"]]
    assert listed == made[::-1]
    assert third["nextCursor"] is None


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 201}, {"limit": "x"}, {"pages": 1}, {"cursor": "x"}]
)
def test_a_wrong_list_query_is_refused(account: Account, query: dict[str, str]) -> None:
    problem = account.refused(422, "validation_failed", "GET", "/devices", params=query)
    assert problem["errors"][0]["field"] == next(iter(query))


def test_name_and_proxy_can_be_changed_and_the_password_stays_hidden(account: Account) -> None:
    device_id = fresh(account, proxy="http://me:hidden@proxy.example:3128")
    path = f"/devices/{device_id}"
    assert account.ok("GET", path)["proxy"] == "http://proxy.example:3128"
    assert account.ok("PATCH", path, {"name": "till 2", "proxy": ""})["proxy"] == "http://proxy.example:3128"
    assert account.ok("PATCH", path, {"proxy": "none"})["proxy"] is None
    assert account.ok("GET", path)["name"] == "till 2"


def test_linking_by_qr_code(account: Account) -> None:
    device_id = fresh(account)
    path = f"/devices/{device_id}"
    assert account.refused(409, "no_qr", "GET", f"{path}/qr")
    assert account.http.post(f"{path}/connect").status_code == 202
    assert account.http.post(f"{path}/connect").status_code == 202
    showing(account, device_id)
    account.ok("POST", f"{path}/sandbox/scan", {"phone": "999000000001"})
    device = account.connected(device_id)
    assert (device["linked"], device["phone"]) == (True, "999000000001")
    assert account.refused(409, "already_linked", "POST", f"{path}/pair-code", {"phone": "62811122233"})
    assert account.refused(409, "no_qr", "GET", f"{path}/qr")


def test_the_qr_code_comes_as_png_svg_and_json(account: Account) -> None:
    device_id = fresh(account)
    showing(account, device_id)
    path = f"/devices/{device_id}/qr"
    shown = account.ok("GET", path, headers={"Accept": "application/json"})
    assert shown.keys() == {"qr", "seq", "expiresAt"}
    png = account.http.get(path)
    assert (png.headers["content-type"], png.headers["cache-control"]) == ("image/png", "no-store")
    assert png.content.startswith(b"\x89PNG\r\n\x1a\n")
    header = png.content.index(b"IHDR")
    width = int.from_bytes(png.content[header + 4 : header + 8], "big")
    data = png.content.index(b"IDAT")
    pixels = zlib.decompress(png.content[data + 4 : -16])
    assert len(pixels) == width * (1 + -(-width // 8))
    for svg in (
        account.http.get(path, params={"format": "svg"}),
        account.http.get(path, headers={"Accept": "image/svg+xml,image/*"}),
    ):
        assert svg.headers["content-type"].startswith("image/svg+xml")
        assert svg.text.startswith("<svg ")
    assert account.ok("GET", path, params={"format": "json"})["qr"] == shown["qr"]
    account.refused(422, "validation_failed", "GET", path, params={"format": "gif"})


def test_linking_by_code(account: Account) -> None:
    device_id = fresh(account)
    path = f"/devices/{device_id}"
    problem = account.refused(422, "validation_failed", "POST", f"{path}/pair-code", {"number": "62811"})
    assert problem["errors"][0]["suggestion"] == "phone"
    answer = account.ok("POST", f"{path}/pair-code", {"phone": "+62 811-1222-333"})
    assert len(answer["code"]) == 9
    assert answer["expiresAt"] > 0
    account.ok("POST", f"{path}/sandbox/scan")
    assert account.connected(device_id)["phone"] == "628111222333"


def test_disconnect_keeps_the_link_and_logout_does_not(account: Account) -> None:
    device_id = account.device()
    path = f"/devices/{device_id}"
    off = account.ok("POST", f"{path}/disconnect")
    assert (off["status"], off["linked"]) == ("DISCONNECTED", True)
    account.ok("POST", f"{path}/connect")
    account.connected(device_id)
    out = account.ok("POST", f"{path}/logout")
    assert (out["linked"], out["status"]) == (False, "DISCONNECTED")


def test_a_deleted_device_is_gone_with_its_messages(account: Account) -> None:
    device_id = account.device()
    message = account.send(device_id, "628111222333")
    assert account.ok("DELETE", f"/devices/{device_id}") == {"unlinked": True}
    account.refused(404, "not_found", "GET", f"/devices/{device_id}")
    account.refused(404, "not_found", "GET", f"/messages/{message['id']}")
    assert account.ok("GET", "/devices")["items"] == []


def test_the_limits_page_tells_what_may_keep_it_from_sending(account: Account) -> None:
    device_id = account.device()
    limits = account.ok("GET", f"/devices/{device_id}/limits")
    assert limits["rateLimit"]["remaining"] == limits["rateLimit"]["limit"] == 30
    assert (limits["restriction"], limits["ban"], limits["queue"]) == (None, None, {"waiting": 0})
    account.refused(
        409, "reachout_restricted", "POST", "/messages/send-text", {"to": "999000000063", "text": "x"}
    )
    assert account.ok("GET", f"/devices/{device_id}/limits")["restriction"]["refusedAt"] > 0


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_somebody_elses_device_does_not_exist(
    shared: Running, account: Account, method: str, path: str
) -> None:
    device_id = fresh(account)
    other = shared.account()
    bodies = {
        "": {"name": "x"},
        "/pair-code": {"phone": "628111222333"},
        "/sandbox/state": {"status": "CONNECTED"},
        "/sandbox/receipt": {"messageId": "x", "status": "read"},
    }
    answers = [
        other.http.request(method, f"/devices/{id_}{path}", json=bodies.get(path))
        for id_ in (device_id, "c" + "0" * 24)
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    theirs, nobodys = (json.loads(answer.text) for answer in answers)
    assert theirs | {"requestId": ""} == nobodys | {"requestId": ""}
    assert account.ok("GET", f"/devices/{device_id}")["name"] == "till 1"
