"""Noise_XX_25519_AESGCM_SHA256, responder side, and the frame cipher that follows it."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from loopback.crypto import hkdf, sha256
from loopback.curve import KeyPair

# Exactly 32 bytes, so it is hash, chaining key and first cipher key as it stands.
PATTERN = b"Noise_XX_25519_AESGCM_SHA256\0\0\0\0"


def _nonce(counter: int) -> bytes:
    return bytes(8) + counter.to_bytes(4, "big")


def _split(chain: bytes, secret: bytes) -> tuple[bytes, bytes]:
    out = hkdf(secret, b"", 64, chain)
    return out[:32], out[32:]


class Responder:
    """One handshake: `hello` makes the ServerHello's parts, `finish` reads the ClientFinish's."""

    def __init__(self, static: KeyPair, prologue: bytes) -> None:
        self._static, self._ephemeral = static, KeyPair.generate()
        self._hash = self._chain = self._key = PATTERN
        self._counter = 0
        self._absorb(prologue)

    def _absorb(self, data: bytes) -> None:
        self._hash = sha256(self._hash + data)

    def _mix(self, secret: bytes) -> None:
        self._chain, self._key = _split(self._chain, secret)
        self._counter = 0

    def _next_nonce(self) -> bytes:
        self._counter += 1
        return _nonce(self._counter - 1)

    def _seal(self, plain: bytes) -> bytes:
        sealed = AESGCM(self._key).encrypt(self._next_nonce(), plain, self._hash)
        self._absorb(sealed)
        return sealed

    def _open(self, sealed: bytes) -> bytes:
        plain = AESGCM(self._key).decrypt(self._next_nonce(), sealed, self._hash)
        self._absorb(sealed)
        return plain

    def hello(self, client_ephemeral: bytes, certificate: bytes) -> tuple[bytes, bytes, bytes]:
        """Returns (ephemeral, sealed static, sealed certificate chain)."""
        self._absorb(client_ephemeral)
        self._absorb(self._ephemeral.public)
        self._mix(self._ephemeral.dh(client_ephemeral))
        static = self._seal(self._static.public)
        self._mix(self._static.dh(client_ephemeral))
        return self._ephemeral.public, static, self._seal(certificate)

    def finish(self, sealed_static: bytes, sealed_payload: bytes) -> tuple[bytes, bytes]:
        """Returns (client's noise public key, client payload). Raises InvalidTag on a wrong key."""
        client_static = self._open(sealed_static)
        self._mix(self._ephemeral.dh(client_static))
        return client_static, self._open(sealed_payload)

    def transport(self) -> Transport:
        read, write = _split(self._chain, b"")  # the first half is the client's write key
        return Transport(read, write)


class Transport:
    """AES-GCM with a 32-bit counter nonce per direction and no associated data."""

    def __init__(self, read: bytes, write: bytes) -> None:
        self._read, self._write = AESGCM(read), AESGCM(write)
        self._reads = self._writes = 0

    def open(self, sealed: bytes) -> bytes:
        self._reads += 1
        return self._read.decrypt(_nonce(self._reads - 1), sealed, None)

    def seal(self, plain: bytes) -> bytes:
        self._writes += 1
        return self._write.encrypt(_nonce(self._writes - 1), plain, None)
