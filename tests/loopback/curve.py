"""Curve25519: X25519 key pairs, and XEdDSA, the signature scheme that libsignal uses."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
_BASE_Y = 4 * pow(5, -1, P) % P
_BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_Point = tuple[int, int, int, int]
_BASE: _Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % P)


def _add(p: _Point, q: _Point) -> _Point:
    """The unified addition in extended coordinates (RFC 8032, section 5.1.4)."""
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _doublings() -> list[_Point]:
    points = [_BASE]
    for _ in range(255):
        points.append(_add(points[-1], points[-1]))
    return points


_POWERS = _doublings()


def _times_base(scalar: int) -> bytes:
    """scalar * B in the 32-byte Edwards encoding."""
    acc: _Point = (0, 1, 1, 0)
    for bit, point in enumerate(_POWERS):
        if scalar >> bit & 1:
            acc = _add(acc, point)
    z_inverse = pow(acc[2], -1, P)
    x, y = acc[0] * z_inverse % P, acc[1] * z_inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An X25519 key pair, both halves as 32 raw bytes."""

    private: bytes
    public: bytes

    @classmethod
    def generate(cls) -> KeyPair:
        return cls.from_private(os.urandom(32))

    @classmethod
    def from_private(cls, raw: bytes) -> KeyPair:
        scalar = bytearray(raw)
        scalar[0] &= 248
        scalar[31] = scalar[31] & 127 | 64
        key = X25519PrivateKey.from_private_bytes(bytes(scalar))
        return cls(bytes(scalar), key.public_key().public_bytes_raw())

    def dh(self, public: bytes) -> bytes:
        key = X25519PrivateKey.from_private_bytes(self.private)
        return key.exchange(X25519PublicKey.from_public_bytes(public))

    def sign(self, message: bytes) -> bytes:
        """XEdDSA: Ed25519 under the X25519 scalar, negated when needed so that the sign bit is 0."""
        k = int.from_bytes(self.private, "little")
        public = _times_base(k)
        if public[31] & 128:
            k, public = L - k % L, public[:31] + bytes((public[31] & 127,))
        scalar = (k % L).to_bytes(32, "little")
        nonce = hashlib.sha512(b"\xfe" + b"\xff" * 31 + scalar + message + os.urandom(64)).digest()
        r = int.from_bytes(nonce, "little") % L
        big_r = _times_base(r)
        h = int.from_bytes(hashlib.sha512(big_r + public + message).digest(), "little")
        return big_r + ((r + h * k) % L).to_bytes(32, "little")


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Check a libsignal signature; bit 7 of its last byte carries the Edwards sign."""
    u = int.from_bytes(public, "little") % P
    y = (u - 1) * pow(u + 1, -1, P) % P
    edwards = bytearray(y.to_bytes(32, "little"))
    edwards[31] |= signature[63] & 128
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes(edwards))
        key.verify(signature[:63] + bytes((signature[63] & 127,)), message)
    except (InvalidSignature, ValueError):
        return False
    return True
