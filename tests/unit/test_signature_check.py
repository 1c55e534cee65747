"""The signature checker: each mistake is named, and a right signature is never doubted."""

import base64
import hashlib
import hmac
import json

import pytest

from appliance.gateway import signing
from appliance.gateway.signature_check import (
    HEX,
    STANDARD,
    Given,
    Outcome,
    age_s,
    check,
    first_difference,
    read_headers,
)

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
BODY = '{"event":"message.received","timestamp":1746480000000,"data":{"text":"Halo é"}}'.encode()
HEADERS = {
    name.lower(): value
    for name, value in signing.delivery_headers(
        event_type="message.received",
        body=BODY,
        timestamp_ms=1_746_480_000_000,
        attempt=1,
        event_id=42,
        now_s=1_746_480_001,
        secret=SECRET,
    ).items()
}


def outcomes(body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,), **changed: str) -> dict[str, str]:
    headers = HEADERS | {name.replace("_", "-"): value for name, value in changed.items()}
    found = check(Given(body=body, headers=headers, secrets=secrets, sent=BODY))
    return {verdict.header: str(verdict.outcome) for verdict in found}


def both(outcome: Outcome) -> dict[str, str]:
    return {HEX: str(outcome), STANDARD: str(outcome)}


def test_what_the_gateway_signs_is_valid() -> None:
    assert outcomes() == both(Outcome.VALID)
    assert all(v.is_good for v in check(Given(body=BODY, headers=HEADERS, secrets=[SECRET])))


def test_the_secret_before_the_last_rotation_is_told_apart() -> None:
    assert outcomes(secrets=("another-secret-of-mine", SECRET)) == both(Outcome.PREVIOUS)
    assert outcomes(secrets=("another-secret-of-mine",)) == both(Outcome.WRONG)


def test_a_changed_body_is_recognised() -> None:
    assert outcomes(BODY + b"\r\n") == both(Outcome.LINE_ENDS)
    pretty = json.dumps(json.loads(BODY), indent=2).encode()
    assert outcomes(pretty) == both(Outcome.RESERIALISED)
    sorted_keys = json.dumps(json.loads(BODY), sort_keys=True).encode()
    assert outcomes(sorted_keys) == both(Outcome.OTHER_BODY)
    assert outcomes(b"not even JSON") == both(Outcome.OTHER_BODY)


def test_keys_and_contents_of_the_wrong_form_are_recognised() -> None:
    decoded, whole = b"k" * 32, SECRET.encode()
    signed = b"42.1746480001." + BODY

    def v1(key: bytes, content: bytes) -> str:
        return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()

    plain = hmac.digest(decoded, BODY, hashlib.sha256).hex()
    assert outcomes(x_webhook_signature=plain)[HEX] == Outcome.KEY_DECODED
    assert outcomes(webhook_signature=v1(whole, signed))[STANDARD] == Outcome.KEY_WHOLE
    assert outcomes(webhook_signature=v1(decoded, BODY))[STANDARD] == Outcome.BODY_ONLY
    assert outcomes(webhook_signature=v1(b"x", BODY))[STANDARD] == Outcome.WRONG


@pytest.mark.parametrize("stamp", ["", "soon", "1" * 5000])
def test_what_cannot_be_checked_is_said(stamp: str) -> None:
    assert outcomes(webhook_timestamp=stamp)[STANDARD] == Outcome.NO_ID
    assert outcomes(x_webhook_signature="sha256=abc")[HEX] == Outcome.MALFORMED
    assert outcomes(webhook_signature="abc")[STANDARD] == Outcome.MALFORMED


def test_headers_are_read_as_people_paste_them() -> None:
    plain = HEADERS[HEX]
    assert read_headers(plain) == {HEX: plain}
    assert read_headers("v1,abc=") == {STANDARD: "v1,abc="}
    pasted = (
        f'X-Webhook-Signature: {plain}\n-H \'webhook-id: 42\' \\\n  "webhook-timestamp": "17",\n\nrubbish'
    )
    assert read_headers(pasted) == {HEX: plain, "webhook-id": "42", "webhook-timestamp": "17"}


def test_age_and_difference() -> None:
    assert age_s(HEADERS, 1_746_480_401) == 400
    assert age_s({}, 5) is None
    assert first_difference(b"abc", b"abc") is None
    assert first_difference(b"abc", b"abX") == 2
    assert first_difference(b"ab", b"abc") == 2
