"""Every example of the description, sent to a sandbox device: the answers are what was promised."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from description import SPEC, Operation, check, operation, operations, resolved
from running import Account, Running, free_port, until

DEVICE, MESSAGE = "cmoshq3v2p8k1x5n7d4t0b6yd", "cmoshq3v2p8k1x5n7d4t0b6ym"
WEBHOOK, DELIVERY = "cmoshq3v2p8k1x5n7d4t0b6yw", "cmoshq3v2p8k1x5n7d4t0b6yv"
HOOK, FILE = "https://example.com/wa/webhook", "https://files.example.com/invoice.pdf"

NOT_LINKED = {"sandboxScan", "getQr", "pairCode"}
"""What needs a device that is being linked."""

REFUSED = {("sendMedia", "url"): 422}
"""No file is fetched from this machine, and none from elsewhere in a test."""

HEALTH = {"index", "openapi", "llms", "llmsFull", "healthz", "readyz", "metrics"}


class Stage:
    """An account with what examples speak of: a device, a message, a webhook, a delivery."""

    def __init__(self, account: Account, operation_id: str) -> None:
        self.account = account
        self.hook = f"http://127.0.0.1:{free_port()}/wa/webhook"
        self._ids: dict[str, str] = {HOOK: self.hook, FILE: f"http://127.0.0.1:{free_port()}/invoice.pdf"}
        if operation_id in NOT_LINKED:
            self._ids[DEVICE] = self._showing()
            return
        self._ids[DEVICE] = device = account.device()
        self._ids[WEBHOOK] = webhook = account.ok("POST", "/webhooks", {"url": self.hook})["id"]
        self._ids[DELIVERY] = account.ok("POST", f"/webhooks/{webhook}/test")["id"]
        self._ids[MESSAGE] = account.send(device, "628111222333")["id"]
        if operation_id in {"getMedia", "linkedMedia"}:
            self.image()

    def image(self) -> str:
        """Somebody sends a picture; the signed link to it."""
        path = f"/devices/{self._ids[DEVICE]}/sandbox/receive"
        self._ids[MESSAGE] = received = self.account.ok("POST", path, {"kind": "image"})["id"]
        told = self.account.ok("GET", "/events", headers={"Accept": "application/json"})["items"]
        return str(next(e["data"]["media"]["url"] for e in told if e["data"].get("id") == received))

    def real(self, value: Any) -> Any:
        """The example with the ids and addresses of this stage."""
        text = json.dumps(value)
        for example, here in self._ids.items():
            text = text.replace(example, here)
        return json.loads(text)

    def _showing(self) -> str:
        created = self.account.ok("POST", "/devices", {"name": "sandbox", "sandbox": True})["id"]
        self.account.ok("POST", f"/devices/{created}/connect")
        until("QR code", lambda: self.account.ok("GET", f"/devices/{created}")["status"] == "QR")
        return str(created)


def cases() -> Iterator[Any]:
    for each in operations():
        bodies = each.requests() or [("", None)]
        if each.node.get("requestBody", {}).get("required") is False:
            bodies.append(("nothing", None))
        for name, body in bodies:
            yield pytest.param(each, name, body, id=f"{each.id}-{name}" if name else each.id)


@pytest.mark.parametrize(("each", "name", "body"), list(cases()))
def test_an_example_works(shared: Running, each: Operation, name: str, body: Any) -> None:
    account = shared.account()
    stage = Stage(account, each.id)
    path, query, headers = parts(each, stage)
    answer = (
        account.http.request(each.method, path, params=query or None, headers=headers, json=stage.real(body))
        if body is not None
        else account.http.request(each.method, path, params=query or None, headers=headers)
    )
    assert answer.is_success or answer.status_code == REFUSED.get((each.id, name)), answer.text
    fits(each, answer)


def parts(each: Operation, stage: Stage) -> tuple[str, dict[str, str], dict[str, str]]:
    """Path, query and headers of a request, from the examples of the parameters."""
    path, query, headers = each.path, {}, {"Accept": "application/json, */*;q=0.5"}
    if each.id == "linkedMedia":
        link = urlsplit(stage.image())
        return link.path, dict(parse_qsl(link.query)), headers
    for parameter in each.parameters:
        if "example" in parameter:
            value = str(stage.real(parameter["example"]))
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", value)
            else:
                query[parameter["name"]] = value
    return path if each.id in HEALTH else f"/api{path}", query, headers


def fits(each: Operation, answer: httpx.Response) -> None:
    """Fails unless the status, the headers and the body are as they are described."""
    described = each.answer(answer.status_code)
    for name in described.get("headers", {}):
        if name.startswith(("X-", "RateLimit", "Link", "Content-")):
            assert name in answer.headers, name
    assert "X-Request-Id" in answer.headers
    if "content" not in described:
        assert answer.content == b""
        return
    kind = answer.headers["content-type"].partition(";")[0]
    media = described["content"].get(kind) or described["content"]["*/*"]
    if kind.endswith("json"):
        check(answer.json(), media["schema"])


def test_the_stream_is_as_its_example_shows(account: Account) -> None:
    device = account.device()
    shown = resolved(SPEC["components"]["responses"]["Events"])["content"]["text/event-stream"]["example"]
    with account.http.stream("GET", f"/api/devices/{device}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        account.ok("POST", f"/devices/{device}/sandbox/receive", {"text": "Halo!"})
        lines = []
        for line in answer.iter_lines():
            lines.append(line)
            if lines[-2:-1] == ["event: message.received"]:
                break
    fields = [line.partition(": ")[0] for line in shown.splitlines()]
    assert [line.partition(": ")[0] for line in lines] == fields[: len(lines)]
    schemas = SPEC["components"]["schemas"]
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    check(told[0], schemas["DeviceStatusChange"])
    check(told[1], schemas["MessageReceived"])


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, None),
        (404, {"deviceId": DEVICE, "to": "628111222333", "text": "Halo!"}),
        (422, {"chatId": "628111222333"}),
        (422, {"to": "1", "text": "Halo!"}),
        (429, {"to": "999000000029", "text": "Halo!"}),
        (409, {"to": "999000000063", "text": "Halo!"}),
        (403, {"to": "120363999000000002@g.us", "text": "Halo!"}),
        (503, {"to": "999000000053", "text": "Halo!"}),
        (507, {"to": "999000000057", "text": "Halo!"}),
    ],
)
def test_a_refusal_is_as_described(account: Account, status: int, body: Any) -> None:
    account.device()
    each = operation("sendText")
    headers = {"X-API-Key": ""} if status == 401 else {}
    answer = account.http.request("POST", "/api/messages/send-text", json=body, headers=headers)
    assert answer.status_code == status
    described = each.answer(status)
    check(answer.json(), described["content"]["application/problem+json"]["schema"])


@pytest.mark.parametrize("number", [3, 4, 7, 9, 10, 11, 12, 13, 14, 15, 16])
def test_whatever_happens_is_as_described(account: Account, number: int) -> None:
    """Every part that a sandbox number plays is told by events that the description knows."""
    device = account.device()
    account.send(device, f"9990000000{number:02}", "Halo!")
    seen: list[Any] = []

    def enough() -> bool:
        nonlocal seen
        seen = account.ok("GET", "/events", headers={"Accept": "application/json"})["items"]
        kinds = [event["event"] for event in seen]
        answers = {14: 1, 15: 2}.get(number, int(number >= 10))
        return kinds.count("message.received") >= answers and kinds.count("message.status") >= 2

    until("events", enough)
    for event in seen:
        check(event, SPEC["components"]["schemas"]["Event"])


@pytest.mark.parametrize(
    "written",
    [
        {"kind": "location", "latitude": 1.5, "longitude": 2, "name": "Here"},
        {"kind": "image", "caption": "Lihat"},
        {"kind": "document", "failDownload": True},
        {"group": "120363999000000001@g.us", "mentions": ["628111222333"], "forwarded": True},
        {"kind": "reaction", "target": "3EB0D1A2C3B4F5E6978812", "emoji": "👍"},
        {"kind": "edit", "target": "3EB0D1A2C3B4F5E6978812", "text": "better"},
        {"kind": "delete", "target": "3EB0D1A2C3B4F5E6978812"},
        {"kind": "poll_vote", "target": "3EB0D1A2C3B4F5E6978812", "options": ["yes"]},
        {"lid": True, "replyTo": "3EB0D1A2C3B4F5E6978812"},
    ],
    ids=lambda written: written.get("kind", "text"),
)
def test_whatever_is_received_is_as_described(account: Account, written: dict[str, Any]) -> None:
    device = account.device()
    received = account.ok("POST", f"/devices/{device}/sandbox/receive", written)
    told = account.ok("GET", "/events", headers={"Accept": "application/json"})["items"]
    check(told[-1], SPEC["components"]["schemas"]["MessageReceivedEvent"])
    message = account.ok("GET", f"/messages/{received['id']}")
    check(message, SPEC["components"]["schemas"]["Message"])
