"""Problem documents: every refusal has a status, and none says more than it should."""

import re
from collections.abc import Iterator

import httpx
import msgspec
import pytest
from litestar import Litestar, get

from appliance.api import problems
from appliance.api.frame import Frame
from appliance.model import errors
from appliance.model.errors import FieldError, GatewayError, NextStep


def declared() -> Iterator[type[GatewayError]]:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, GatewayError):
            yield kind


@pytest.mark.parametrize("kind", list(declared()), ids=lambda kind: kind.__name__)
def test_every_refusal_has_its_status(kind: type[GatewayError]) -> None:
    assert kind in problems.STATUS, "add it to the table"


def test_codes_are_stable_words_and_each_has_one_status() -> None:
    statuses: dict[str, set[int]] = {}
    for kind, status in problems.STATUS.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]+", kind.code)
        statuses.setdefault(kind.code, set()).add(status)
    assert {code: found for code, found in statuses.items() if len(found) > 1} == {}


def test_a_class_outside_the_table_has_its_bases_status() -> None:
    class Odd(errors.QueueFull):
        code = "odd"

    assert problems.status_of(Odd()) == 503


def test_the_document_has_everything_that_helps() -> None:
    refusal = errors.DeviceNotLinked(
        "Scan first.",
        errors=(FieldError("deviceId", "not linked", "other"),),
        next_step=NextStep("POST", "/api/devices/x/connect", "shows a QR code"),
        extra={"until": 5, "code": "mine"},
    )
    document = msgspec.json.decode(
        msgspec.json.encode(problems.document(refusal, "https://wa.example", "r1"))
    )
    assert document == {
        "type": "https://wa.example/docs/errors/device_not_linked",
        "title": "The device is not linked to a WhatsApp account",
        "status": 409,
        "detail": "Scan first.",
        "code": "device_not_linked",
        "requestId": "r1",
        "retryable": False,
        "errors": [{"field": "deviceId", "message": "not linked", "suggestion": "other"}],
        "nextStep": {"method": "POST", "path": "/api/devices/x/connect", "why": "shows a QR code"},
        "until": 5,
    }


def test_headers_say_when_to_come_back_and_where_to_read() -> None:
    assert problems.response_headers(errors.RateLimited(retry_after_s=0.2), 429)["Retry-After"] == "1"
    assert problems.response_headers(errors.RateLimited(retry_after_s=41.1), 429)["Retry-After"] == "42"
    for status in (401, 404):
        link = problems.response_headers(errors.NotFound(), status)["Link"]
        assert 'rel="service-desc"' in link
        assert 'rel="help"' in link


@get("/boom")
async def boom() -> None:
    raise RuntimeError("the secret inside")


async def test_a_fault_of_ours_says_nothing_but_its_id(caplog: pytest.LogCaptureFixture) -> None:
    app = Frame(
        Litestar([boom], exception_handlers=problems.HANDLERS, openapi_config=None, logging_config=None)
    )
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://wa.example") as http:
        answer = await http.get("/boom")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert answer.json()["requestId"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text
    [record] = [record for record in caplog.records if record.getMessage() == "request_failed"]
    assert vars(record)["request_id"] == answer.headers["x-request-id"]
    assert record.exc_info is not None
