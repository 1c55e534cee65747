"""Why a signature fits or does not: tries the mistakes that receivers make, and names the one that was made.

Everything is given and nothing is kept: no secret and no body leaves these functions.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from appliance.gateway import canonical_json
from appliance.gateway.signing import hex_signature, standard_key, standard_signature

TOLERANCE_S = 300
"""Standard Webhooks libraries refuse what is older than this, or further ahead."""

HEX, STANDARD, ID, TIMESTAMP = (
    "x-webhook-signature",
    "webhook-signature",
    "webhook-id",
    "webhook-timestamp",
)
_DIGITS = 16
_HEX = re.compile(r"[0-9a-fA-F]{64}\Z")
_LINE = re.compile(r"""(?:-H\s+)?["']?([A-Za-z0-9-]+)["']?\s*[:=]\s*["']?(.*?)["',\\\s]*\Z""")


class Outcome(StrEnum):
    VALID = "valid"
    PREVIOUS = "previous"
    """It fits the secret before the last rotation."""
    LINE_ENDS = "line_ends"
    """It fits the body with other line ends, or without the blank line at its end."""
    RESERIALISED = "reserialised"
    """It fits the same JSON as the gateway writes it: something parsed the body and wrote it again."""
    OTHER_BODY = "other_body"
    """It fits what the gateway sent, which is not what was given."""
    KEY_DECODED = "key_decoded"
    """The plain form was made with the decoded secret; its key is the whole text."""
    KEY_WHOLE = "key_whole"
    """The Standard form was made with the whole text; its key is what stands after `whsec_`, decoded."""
    BODY_ONLY = "body_only"
    """The Standard form was made over the body alone; it signs `id.timestamp.body`."""
    MALFORMED = "malformed"
    NO_ID = "no_id"
    """`webhook-id` or `webhook-timestamp` is missing, and the Standard form signs both."""
    WRONG = "wrong"
    """Nothing fits: another secret, or another body."""


class Verdict(msgspec.Struct, frozen=True):
    """What is to be said of one signature header. `expected` is what it should have been."""

    header: str
    outcome: Outcome
    expected: str

    @property
    def is_good(self) -> bool:
        return self.outcome in {Outcome.VALID, Outcome.PREVIOUS}


class Given(msgspec.Struct, frozen=True):
    """What is checked. `secrets` are the present one and perhaps the one before; `sent` is the body that the
    gateway sent, if it is known."""

    body: bytes
    headers: Mapping[str, str]
    secrets: Sequence[str]
    sent: bytes | None = None


def read_headers(text: str) -> dict[str, str]:
    """Headers as people paste them: `Name: value` a line, also from curl or JSON, or a bare signature. Names
    are lower case."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        value = line.strip()
        if _HEX.match(value):
            found[HEX] = value
        elif value.startswith("v1,"):
            found[STANDARD] = value
        elif match := _LINE.match(value):
            found[match[1].lower()] = match[2]
    return found


def check(given: Given) -> list[Verdict]:
    """A verdict for every signature header that was given."""
    verdicts = []
    if HEX in given.headers:
        verdicts.append(_check_hex(given, given.headers[HEX]))
    if STANDARD in given.headers:
        verdicts.append(_check_standard(given, given.headers[STANDARD]))
    return verdicts


def age_s(headers: Mapping[str, str], now_s: int) -> int | None:
    """Seconds since the attempt says it was made; None when `webhook-timestamp` says nothing readable."""
    stamp = _timestamp(headers)
    return None if stamp is None else now_s - stamp


def first_difference(given: bytes, sent: bytes) -> int | None:
    """The first byte (from 0) at which the two differ; None when they are the same."""
    if given == sent:
        return None
    pairs = enumerate(zip(given, sent, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(given), len(sent)))


def _check_hex(given: Given, signature: str) -> Verdict:
    expected = hex_signature(given.secrets[0], given.body)
    if not _HEX.match(signature):
        return Verdict(HEX, Outcome.MALFORMED, expected)
    signature = signature.lower()
    for outcome, body in _bodies(given):
        for place, secret in enumerate(given.secrets):
            if _same(signature, hex_signature(secret, body)):
                is_previous = outcome is Outcome.VALID and place > 0
                return Verdict(HEX, Outcome.PREVIOUS if is_previous else outcome, expected)
    decoded = hmac.digest(standard_key(given.secrets[0]), given.body, hashlib.sha256).hex()
    outcome = Outcome.KEY_DECODED if _same(signature, decoded) else Outcome.WRONG
    return Verdict(HEX, outcome, expected)


def _check_standard(given: Given, header: str) -> Verdict:
    signatures = header.split()
    message_id, stamp = given.headers.get(ID, ""), _timestamp(given.headers)
    if not message_id or stamp is None:
        return Verdict(STANDARD, Outcome.NO_ID, "")
    expected = standard_signature(given.secrets[0], message_id, stamp, given.body)
    if not any(each.startswith("v1,") for each in signatures):
        return Verdict(STANDARD, Outcome.MALFORMED, expected)
    for outcome, body in _bodies(given):
        for place, secret in enumerate(given.secrets):
            right = standard_signature(secret, message_id, stamp, body)
            if any(_same(each, right) for each in signatures):
                is_previous = outcome is Outcome.VALID and place > 0
                return Verdict(STANDARD, Outcome.PREVIOUS if is_previous else outcome, expected)
    return Verdict(STANDARD, _standard_mistake(given, signatures, message_id, stamp), expected)


def _standard_mistake(given: Given, signatures: list[str], message_id: str, stamp: int) -> Outcome:
    secret = given.secrets[0]
    whole, decoded = secret.encode(), standard_key(secret)
    signed = f"{message_id}.{stamp}.".encode() + given.body
    for outcome, key, content in (
        (Outcome.KEY_WHOLE, whole, signed),
        (Outcome.BODY_ONLY, decoded, given.body),
        (Outcome.BODY_ONLY, whole, given.body),
    ):
        made = "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
        if any(_same(each, made) for each in signatures):
            return outcome
    return Outcome.WRONG


def _bodies(given: Given) -> list[tuple[Outcome, bytes]]:
    """The body as given, then as it may have been before something changed it."""
    found = [(Outcome.VALID, given.body)]
    plain = given.body.replace(b"\r\n", b"\n")
    found += [(Outcome.LINE_ENDS, each) for each in (plain, plain.rstrip(b"\n"), plain.strip())]
    try:
        written = canonical_json.encode(msgspec.json.decode(given.body))
    except (msgspec.DecodeError, ValueError, TypeError):
        written = None
    if written is not None:
        found.append((Outcome.RESERIALISED, written))
    if given.sent is not None:
        found.append((Outcome.OTHER_BODY, given.sent))
    return found


def _timestamp(headers: Mapping[str, str]) -> int | None:
    stamp = headers.get(TIMESTAMP, "")
    return int(stamp) if stamp.isascii() and stamp.isdigit() and len(stamp) < _DIGITS else None


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode())
