"""Receivers can verify a delivery: by the documented Node code and by the Standard Webhooks library."""

import base64
import hashlib
import hmac
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from patience import PATIENCE_S
from standardwebhooks import Webhook, WebhookVerificationError

from appliance.gateway import signing
from appliance.gateway.canonical_json import encode

VERIFY = Path(__file__).parent / "verify_seed.js"
BODY = encode(
    {
        "event": "message.received",
        "timestamp": 1746480000000,
        "data": {"text": "Halo! 👍🏽 \u2028 é /", "fileLength": 2**60, "seconds": 1.0, "lat": -6.2, "7": 1},
    }
)
WHSEC = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OWN = "correct-horse-battery"
OLD = "whsec_" + base64.b64encode(bytes(32)).decode()


def headers(
    body: bytes = BODY, secret: str = WHSEC, previous: str | None = None, now_s: int | None = None
) -> dict[str, str]:
    return signing.delivery_headers(
        event_type="message.received",
        body=body,
        timestamp_ms=1746480000000,
        attempt=3,
        event_id=42,
        now_s=int(time.time()) if now_s is None else now_s,
        secret=secret,
        previous_secret=previous,
    )


def in_node(secret: str, signature: str, body: bytes) -> str:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed: the documented verification was not run")
    question = {"secret": secret, "signature": signature, "body": base64.b64encode(body).decode()}
    ran = subprocess.run(
        [node, str(VERIFY)],
        input=json.dumps(question),
        capture_output=True,
        check=True,
        text=True,
        timeout=PATIENCE_S,
    )
    return ran.stdout


@pytest.mark.parametrize("secret", [WHSEC, OWN, "whsec_not base64".replace(" ", "-")])
def test_the_documented_node_code_verifies(secret: str) -> None:
    signature = headers(secret=secret)["X-Webhook-Signature"]
    assert in_node(secret, signature, BODY) == "verified"


def test_the_documented_node_code_refuses_another_body() -> None:
    signature = headers()["X-Webhook-Signature"]
    assert in_node(WHSEC, signature, BODY.replace(b"Halo", b"Hello")) == "refused"


@pytest.mark.parametrize(
    "secret",
    [
        WHSEC,
        OWN,
        pytest.param(signing.new_secret(), id="a new one"),
        "whsec_abcdefghijk",
        "whsec_éa" + "a" * 16,
    ],
)
def test_the_standard_library_verifies(secret: str) -> None:
    pasted = signing.standard_secret(secret) or secret
    Webhook(pasted).verify(BODY, headers(secret=secret))


@pytest.mark.parametrize("secret", [WHSEC, OLD])
def test_both_secrets_verify_after_a_rotation(secret: str) -> None:
    Webhook(secret).verify(BODY, headers(previous=OLD))


def test_tampered_old_and_foreign_deliveries_are_refused() -> None:
    for body, sent, secret in (
        (BODY + b" ", headers(), WHSEC),
        (BODY, headers(now_s=int(time.time()) - 600), WHSEC),
        (BODY, headers(), OLD),
        (BODY, headers() | {"webhook-id": "43"}, WHSEC),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, sent)


def test_the_headers_are_exactly_these() -> None:
    assert headers(now_s=1746480005) == {
        "Content-Type": "application/json",
        "X-Webhook-Event": "message.received",
        "X-Webhook-Signature": hmac.new(WHSEC.encode(), BODY, hashlib.sha256).hexdigest(),
        "X-Webhook-Timestamp": "1746480000000",
        "X-Webhook-Attempt": "3",
        "webhook-id": "42",
        "webhook-timestamp": "1746480005",
        "webhook-signature": signing.standard_signature(WHSEC, "42", 1746480005, BODY),
    }


def test_a_rotation_adds_the_previous_signatures() -> None:
    plain, rotated = headers(now_s=1), headers(now_s=1, previous=OLD)
    assert rotated["X-Webhook-Signature"] == plain["X-Webhook-Signature"]
    assert rotated["X-Webhook-Signature-Previous"] == signing.hex_signature(OLD, BODY)
    new, old = rotated["webhook-signature"].split(" ")
    assert new == plain["webhook-signature"]
    assert old == signing.standard_signature(OLD, "42", 1, BODY)
    assert set(rotated) - set(plain) == {"X-Webhook-Signature-Previous"}


def test_the_standard_signature_of_the_specification() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    signature = signing.standard_signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_new_secret_is_32_random_bytes() -> None:
    first, second = signing.new_secret(), signing.new_secret()
    assert first != second
    assert len(base64.b64decode(first.removeprefix("whsec_"), validate=True)) == 32
    signing.validate_secret(first)
    assert signing.standard_secret(first) is None


def test_the_standard_secret_of_an_own_secret() -> None:
    assert signing.standard_secret(OWN) == "whsec_" + base64.b64encode(OWN.encode()).decode()
    assert signing.standard_secret("whsec_not*base64") is not None


@pytest.mark.parametrize("secret", ["x" * 16, "x" * 128, "!~" * 8, WHSEC])
def test_a_good_secret(secret: str) -> None:
    signing.validate_secret(secret)


@pytest.mark.parametrize(
    "secret", ["", "x" * 15, "x" * 129, "x" * 16 + " ", "x" * 16 + "\x7f", "é" * 16, "x" * 16 + "\n"]
)
def test_a_bad_secret(secret: str) -> None:
    with pytest.raises(signing.SecretInvalid):
        signing.validate_secret(secret)


def test_a_media_link_opens_until_its_end() -> None:
    key = bytes(range(32))
    signature = signing.sign_link(key, "cmedia", 1000)
    assert len(signature) == 43
    assert signing.verify_link(key, "cmedia", 1000, signature, now_s=999.9)
    assert not signing.verify_link(key, "cmedia", 1000, signature, now_s=1000)
    assert not signing.verify_link(key, "cmedia", 1001, signature, now_s=1)
    assert not signing.verify_link(key, "cother", 1000, signature, now_s=1)
    assert not signing.verify_link(bytes(32), "cmedia", 1000, signature, now_s=1)
    for forged in ("", "é", "\ud800", signature[:-1], signature + "=", signature.swapcase()):
        assert not signing.verify_link(key, "cmedia", 1000, forged, now_s=1)
