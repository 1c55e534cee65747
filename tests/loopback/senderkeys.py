"""Group sender keys: one chain a sender, signed, handed out once to every member's device."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from loopback.crypto import cbc_open, cbc_seal, hkdf
from loopback.curve import KeyPair, verify
from loopback.fields import Fields
from loopback.ratchet import DJB, VERSION, Chain, Undecryptable, pad, unpad

_SIGNATURE_SIZE = 64


def _keys(seed: bytes) -> tuple[bytes, bytes]:
    out = hkdf(seed, b"WhisperGroup", 48)
    return out[:16], out[16:]


@dataclass(slots=True)
class SenderKey:
    """Ours (with a signing key pair) or one that another device handed out."""

    id: int
    chain: Chain
    signing_public: bytes
    signing: KeyPair | None = None

    @classmethod
    def generate(cls) -> SenderKey:
        pair = KeyPair.generate()
        return cls(secrets.randbelow(2**31), Chain(secrets.token_bytes(32)), pair.public, pair)

    @classmethod
    def from_distribution(cls, message: bytes) -> SenderKey:
        fields = Fields.unpack(message[1:])
        chain = Chain(fields.blob(3), fields.number(2))
        return cls(fields.number(1), chain, fields.blob(4)[1:])

    def distribution(self) -> bytes:
        fields = Fields({1: self.id, 2: self.chain.counter, 3: self.chain.key})
        fields[4] = DJB + self.signing_public
        return VERSION + fields.pack()

    def encrypt(self, plain: bytes) -> bytes:
        """Only for our own key: one that was handed to us has no signing half."""
        assert self.signing is not None
        iteration = self.chain.counter
        iv, key = _keys(self.chain.step())
        body = VERSION + Fields({1: self.id, 2: iteration, 3: cbc_seal(key, iv, pad(plain))}).pack()
        return body + self.signing.sign(body)

    def decrypt(self, message: bytes) -> bytes:
        """Raises Undecryptable on a bad signature or a message seen before."""
        body, signature = message[:-_SIGNATURE_SIZE], message[-_SIGNATURE_SIZE:]
        if not verify(self.signing_public, body, signature):
            raise Undecryptable("bad sender-key signature")
        fields = Fields.unpack(body[1:])
        iv, key = _keys(self.chain.seed_for(fields.number(2)))
        return unpad(cbc_open(key, iv, fields.blob(3)))
