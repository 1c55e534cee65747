"""The primitives that WhatsApp's protocols share: HKDF, HMAC-SHA256, AES-CBC with PKCS#7."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def hkdf(secret: bytes, info: bytes, size: int, salt: bytes | None = None) -> bytes:
    """RFC 5869 with SHA-256; by hand, because this is the hot path and OpenSSL's set-up is not cheap."""
    key = hmac.digest(salt or bytes(32), secret, "sha256")
    out, block = b"", b""
    for counter in range(1, -(-size // 32) + 1):
        block = hmac.digest(key, block + info + bytes((counter,)), "sha256")
        out += block
    return out[:size]


def mac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 over the joined parts."""
    return hmac.digest(key, b"".join(parts), "sha256")


def cbc_seal(key: bytes, iv: bytes, data: bytes) -> bytes:
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(data) + padder.finalize())


def cbc_open(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Raises ValueError when the padding does not fit."""
    unpadder = padding.PKCS7(128).unpadder()
    plain = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor().update(data)
    return unpadder.update(plain) + unpadder.finalize()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
