"""Media: WhatsApp's encryption of files, and the host that keeps the encrypted blobs."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from loopback.crypto import cbc_open, cbc_seal, hkdf, mac

_MAC_SIZE = 10
_KEYS_SIZE = 112


def seal(key: bytes, kind: str, data: bytes) -> bytes:
    """Encrypt a file under its media key; `kind` is `Image`, `Video`, `Audio` or `Document`."""
    keys = hkdf(key, f"WhatsApp {kind} Keys".encode(), _KEYS_SIZE)
    sealed = cbc_seal(keys[16:48], keys[:16], data)
    return sealed + mac(keys[48:80], keys[:16], sealed)[:_MAC_SIZE]


def unseal(key: bytes, kind: str, blob: bytes) -> bytes:
    """Raises ValueError when the MAC does not fit."""
    keys = hkdf(key, f"WhatsApp {kind} Keys".encode(), _KEYS_SIZE)
    sealed = blob[:-_MAC_SIZE]
    if not hmac.compare_digest(mac(keys[48:80], keys[:16], sealed)[:_MAC_SIZE], blob[-_MAC_SIZE:]):
        raise ValueError("bad media MAC")
    return cbc_open(keys[16:48], keys[:16], sealed)


class BlobStore:
    """Encrypted files by path, as the media host serves them."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def put(self, blob: bytes) -> str:
        """Keep a blob; returns its direct path. Clients append `&hash=…`, so it has a query already."""
        key = secrets.token_urlsafe(16)
        self.blobs[key] = blob
        return f"/v/{key}?ccb=1&oh=0&oe=0"

    def put_public(self, blob: bytes) -> str:
        """Keep an unencrypted picture under a path made from its hash."""
        key = hashlib.sha256(blob).hexdigest()
        self.blobs[key] = blob
        return f"/v/{key}?public=1"

    def get(self, path: str) -> bytes | None:
        return self.blobs.get(path.partition("?")[0].removeprefix("/v/"))

    def forget(self, path: str) -> None:
        """Let a file expire, as WhatsApp's host does after some weeks."""
        self.blobs.pop(path.partition("?")[0].removeprefix("/v/"), None)
