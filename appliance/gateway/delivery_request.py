"""What an attempt sent, rebuilt: the log keeps only the event's bytes and the attempt's time."""

import msgspec

from appliance.gateway import signing
from appliance.gateway.endpoint_rules import MASK
from appliance.gateway.endpoint_seal import EndpointSeal
from appliance.gateway.vault import VaultError
from appliance.gateway.webhooks import PREVIOUS_SECRET_MS
from appliance.model.event import Event
from appliance.model.webhook import Delivery, Endpoint

_SIGNATURES = ("X-Webhook-Signature", "X-Webhook-Signature-Previous", "webhook-signature")


class SentRequest(msgspec.Struct, frozen=True):
    """One POST: its headers in order, and its exact bytes.

    The values of the owner's own headers are masked. `is_signed` is False when the signatures cannot be
    rebuilt, because the secret was rotated since or does not open; they are left out then.
    """

    headers: dict[str, str]
    body: bytes
    is_signed: bool


def rebuilt(
    endpoint: Endpoint, seal: EndpointSeal, delivery: Delivery, event: Event, n: int, at_ms: int
) -> SentRequest:
    """The request of the delivery's attempt number `n` (from 1), made at `at_ms`."""
    try:
        secret, own = seal.secret(endpoint), dict.fromkeys(seal.headers(endpoint), MASK)
        previous = seal.previous_secret(endpoint, at_ms)
    except VaultError:
        secret, own, previous = "", {}, None
    headers = signing.delivery_headers(
        event_type=delivery.event_type,
        body=event.body,
        timestamp_ms=event.created_at,
        attempt=n,
        event_id=event.no,
        now_s=at_ms // 1000,
        secret=secret,
        previous_secret=previous,
    )
    is_signed = bool(secret) and not _was_rotated_after(endpoint, at_ms)
    if not is_signed:
        headers = {name: value for name, value in headers.items() if name not in _SIGNATURES}
    length = {"Content-Length": str(len(event.body))}
    return SentRequest(own | headers | length, event.body, is_signed)


def _was_rotated_after(endpoint: Endpoint, at_ms: int) -> bool:
    return endpoint.previous_until is not None and at_ms < endpoint.previous_until - PREVIOUS_SECRET_MS
