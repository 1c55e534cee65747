"""What holds for every address: ids, problems, keys, both mounts, a stop that ends."""

import json
import socket
import time
from collections.abc import Callable

import httpx
import pytest
from patience import PATIENCE_S
from running import Account, Running
from sse import following


def raw(port: int, text: str, *, until_closed: bool = False) -> bytes:
    """What the gateway answers to these very bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(text.encode().replace(b"\n", b"\r\n"))
        answer = connection.recv(65_536)
        while until_closed and (more := connection.recv(65_536)):
            answer += more
    return answer


def test_every_answer_has_its_own_request_id(shared: Running) -> None:
    paths = ["/healthz", "/auth/me", "/nothing/here", "/login", "/dashboard/static/nothing.css"]
    ids = [httpx.get(shared.url + path).headers["x-request-id"] for path in paths]
    assert len(set(ids)) == len(paths)


@pytest.mark.parametrize("path", ["/auth/me", "/api/auth/me"])
def test_the_api_answers_at_the_root_and_below_api(account: Account, path: str) -> None:
    assert account.ok("GET", path).keys() == {"id", "email", "name", "role", "createdAt", "rateLimit"}


def test_without_a_key_nothing_is_told(shared: Running) -> None:
    for headers in ({}, {"Cookie": "wa=x"}, {"Authorization": "Basic eDp5"}):
        answer = httpx.get(f"{shared.url}/devices", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["code"] == "missing_api_key"
        assert 'rel="service-desc"' in answer.headers["link"]


def test_a_wrong_key_is_refused_also_in_the_url(shared: Running, account: Account) -> None:
    for key in ("0" * 64, "short", account.key.upper()):
        answer = httpx.get(f"{shared.url}/devices", headers={"X-API-Key": key})
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")
    for name in ("apiKey", "api_key", "key", "X-API-Key", "access_token", "ticket"):
        for path in ("/devices", "/events"):
            assert httpx.get(f"{shared.url}{path}", params={name: account.key}).status_code == 401


def test_bearer_is_as_good_as_the_header(shared: Running, account: Account) -> None:
    answer = httpx.get(f"{shared.url}/auth/me", headers={"Authorization": f"Bearer {account.key}"})
    assert answer.status_code == 200


def test_rotating_the_key_refuses_the_old_one_at_once(shared: Running) -> None:
    account = shared.account()
    fresh = account.ok("POST", "/auth/rotate-key")["apiKey"]
    account.refused(401, "invalid_api_key", "GET", "/auth/me")
    assert Account(shared.url, fresh).ok("GET", "/auth/me")


def test_an_unknown_address_and_method_are_problems(account: Account) -> None:
    assert account.refused(404, "not_found", "GET", "/nope")["detail"] == "Nothing answers at /nope."
    answer = account.http.put("/devices")
    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b'{"a":\xff}', b"[" * 5_000, b'{"name":"\\ud800"}'])
def test_what_is_not_a_json_object_is_said_to_be_none(account: Account, body: bytes) -> None:
    answer = account.http.post("/devices", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


def test_a_form_where_json_belongs_is_said_to_be_one(account: Account) -> None:
    answer = account.http.post("/devices", data={"name": "x"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_json_needs_no_content_type(account: Account) -> None:
    body = json.dumps({"name": "x", "sandbox": True})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert account.http.post("/devices", content=body, headers=headers).status_code == 201


def test_a_body_announced_too_large_is_refused_before_it_comes(shared: Running, account: Account) -> None:
    size = 25 * 1024 * 1024
    head = f"POST /devices HTTP/1.1\nHost: x\nX-API-Key: {account.key}\nContent-Length: {size}\n\n"
    answer = raw(shared.port, head)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"body_too_large"' in answer


def test_a_body_that_turns_out_too_large_is_refused(account: Account) -> None:
    chunks = (b" " * 1024 * 1024 for _ in range(26))
    try:
        answer = account.http.post("/devices", content=chunks)
    except httpx.TransportError:
        return  # the connection was closed on us while we were still sending: refused as well
    assert answer.status_code == 413


def test_links_begin_with_the_address_that_was_asked(shared: Running, account: Account) -> None:
    problem = httpx.get(f"{shared.url}/nope", headers={"Host": "wa.example:99"}).json()
    assert problem["type"] == "http://wa.example:99/docs/errors/not_found"
    assert account.ok("GET", "/api")["openapi"] == f"{shared.url}/api/openapi.json"


def test_health_and_metrics(shared: Running) -> None:
    health = httpx.get(f"{shared.url}/healthz").json()
    assert health["status"] == "ok"
    assert {"gateway", "sqlite"} <= health["versions"].keys()
    assert httpx.get(f"{shared.url}/readyz").json() == {"status": "ready"}
    assert "wa_gateway_devices{" in httpx.get(f"{shared.url}/metrics").text
    through_a_proxy = httpx.get(f"{shared.url}/metrics", headers={"X-Forwarded-For": "192.0.2.1"})
    assert through_a_proxy.status_code == 404


def test_stopping_ends_streams_waits_and_half_requests(start: Callable[..., Running]) -> None:
    gateway = start()
    account = gateway.account()
    device = account.device()
    half = socket.create_connection(("127.0.0.1", gateway.port))
    half.sendall(b"POST /devices HTTP/1.1\r\nHost: x\r\n")
    idle = socket.create_connection(("127.0.0.1", gateway.port))
    with following(account.http, "/events") as stream:
        assert stream.next().data["deviceId"] == device
        began = time.monotonic()
        assert gateway.stop() == 0
        stream.rest()
    assert time.monotonic() - began < 15
    half.close()
    idle.close()


def test_a_sender_that_waits_is_released_by_a_stop(start: Callable[..., Running]) -> None:
    gateway = start()
    account = gateway.account()
    device = account.device()
    body = json.dumps({"deviceId": device, "to": "999000000005", "text": "slow"})
    head = f"POST /messages/send-text HTTP/1.1\nHost: x\nX-API-Key: {account.key}\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S) as connection:
        connection.sendall(
            f"{head}Content-Length: {len(body)}\n\n".replace("\n", "\r\n").encode() + body.encode()
        )
        account.ok("GET", "/messages")  # answered after the other request was read
        assert gateway.stop() == 0
        assert connection.recv(65_536).startswith(b"HTTP/1.1 202 ")
