"""Signs what leaves the gateway: webhook bodies (plain and Standard Webhooks form) and media links.

Standard Webhooks: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
import secrets

_PREFIX = "whsec_"
_SECRET_LENGTH = range(16, 129)


class SecretInvalid(ValueError):
    """A webhook secret that is not 16 to 128 visible ASCII characters."""


def new_secret() -> str:
    """A fresh webhook secret: `whsec_` and the base64 of 32 random bytes."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def validate_secret(secret: str) -> None:
    """Raises SecretInvalid unless `secret` is 16 to 128 visible ASCII characters (no spaces)."""
    if len(secret) not in _SECRET_LENGTH:
        raise SecretInvalid("a secret has 16 to 128 characters")
    if not all("!" <= character <= "~" for character in secret):
        raise SecretInvalid("a secret has visible ASCII characters only, no spaces")


def standard_secret(secret: str) -> str | None:
    """What to paste into a Standard Webhooks library, or None when that is `secret` itself."""
    if _decoded(secret) is not None:
        return None
    return _PREFIX + base64.b64encode(secret.encode("utf-8")).decode("ascii")


def hex_signature(secret: str, body: bytes) -> str:
    """HMAC-SHA256 of `body` in 64 lower-case hex digits; the key is the whole `secret` as shown, in UTF-8."""
    return hmac.digest(secret.encode("utf-8"), body, hashlib.sha256).hex()


def standard_key(secret: str) -> bytes:
    """The key of the Standard Webhooks form: what `whsec_…` decodes to, else the whole secret."""
    return _decoded(secret) or secret.encode("utf-8")


def standard_signature(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 of `id.timestamp.body`; the key is `standard_key`."""
    key = standard_key(secret)
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode("ascii")


def delivery_headers(
    *,
    event_type: str,
    body: bytes,
    timestamp_ms: int,
    attempt: int,
    event_id: int | str,
    now_s: int,
    secret: str,
    previous_secret: str | None = None,
) -> dict[str, str]:
    """The headers of one delivery attempt, `Content-Length` excepted.

    `timestamp_ms` is the body's own and the same on every attempt; `attempt` counts from 1; `now_s` is this
    attempt's time. `previous_secret` is the one before a rotation, while receivers may still use it.
    """
    current = [secret] if previous_secret is None else [secret, previous_secret]
    headers = {
        "Content-Type": "application/json",
        "X-Webhook-Event": str(event_type),
        "X-Webhook-Signature": hex_signature(secret, body),
        "X-Webhook-Timestamp": str(timestamp_ms),
        "X-Webhook-Attempt": str(attempt),
        "webhook-id": str(event_id),
        "webhook-timestamp": str(now_s),
        "webhook-signature": " ".join(standard_signature(key, str(event_id), now_s, body) for key in current),
    }
    if previous_secret is not None:
        # A header of its own: receivers' timingSafeEqual throws on anything but 64 digits.
        headers["X-Webhook-Signature-Previous"] = hex_signature(previous_secret, body)
    return headers


def sign_link(key: bytes, media_id: str, expires_at_s: int) -> str:
    """The signature (43 characters, safe in a URL) that opens `media_id` until `expires_at_s` (epoch)."""
    digest = hmac.digest(key, f"media\n{expires_at_s}\n{media_id}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def verify_link(key: bytes, media_id: str, expires_at_s: int, signature: str, now_s: float) -> bool:
    """Whether `signature` is the one of `sign_link` and `now_s` is before its end."""
    expected = sign_link(key, media_id, expires_at_s).encode("ascii")
    genuine = hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
    return genuine and now_s < expires_at_s


def _decoded(secret: str) -> bytes | None:
    """The key inside a secret of the form `whsec_` + base64; None for any other secret."""
    if not secret.startswith(_PREFIX):
        return None
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True) or None
    except ValueError:
        return None
