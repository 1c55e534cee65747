"""Just enough Signal for a virtual phone: X3DH and the Double Ratchet, protocol version 3."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

from loopback.crypto import cbc_open, cbc_seal, hkdf, mac
from loopback.curve import KeyPair
from loopback.fields import Fields

VERSION = b"\x33"  # message version 3, current version 3
DJB = b"\5"
_MAC_SIZE = 8
_X3DH_PREFIX = b"\xff" * 32
_MAX_SKIP = 2_000


class Undecryptable(ValueError):
    """No key we hold opens the message."""


def pad(plain: bytes) -> bytes:
    """WhatsApp's padding: 1 to 15 bytes that each hold their count."""
    size = secrets.randbelow(15) + 1
    return plain + bytes((size,)) * size


def unpad(padded: bytes) -> bytes:
    return padded[: -padded[-1]]


@dataclass(slots=True)
class Chain:
    """A symmetric ratchet; `skipped` keeps the seeds of messages that have not arrived yet."""

    key: bytes
    counter: int = 0
    skipped: dict[int, bytes] = field(default_factory=dict)

    def step(self) -> bytes:
        """The seed of the next message's keys."""
        seed, self.key = mac(self.key, b"\1"), mac(self.key, b"\2")
        self.counter += 1
        return seed

    def seed_for(self, counter: int) -> bytes:
        """Raises Undecryptable for a counter seen before or unreasonably far ahead."""
        if counter < self.counter:
            if counter not in self.skipped:
                raise Undecryptable("message seen before")
            return self.skipped.pop(counter)
        if counter - self.counter > _MAX_SKIP:
            raise Undecryptable("message too far ahead")
        while self.counter < counter:
            number = self.counter
            self.skipped[number] = self.step()
        return self.step()


def _root_step(root: bytes, shared: bytes) -> tuple[bytes, Chain]:
    out = hkdf(shared, b"WhisperRatchet", 64, root)
    return out[:32], Chain(out[32:])


def _message_keys(seed: bytes) -> tuple[bytes, bytes, bytes]:
    out = hkdf(seed, b"WhisperMessageKeys", 80)
    return out[:32], out[32:64], out[64:80]


@dataclass(slots=True)
class Prekeys:
    """The public keys another device offers, as fetched before the first message."""

    identity: bytes
    signed_id: int
    signed_key: bytes
    one_time: tuple[int, bytes] | None


@dataclass(slots=True)
class Session:
    """One Double Ratchet with one device."""

    ours: bytes
    theirs: bytes
    root: bytes
    ratchet: KeyPair
    sending: Chain
    receiving: dict[bytes, Chain] = field(default_factory=dict)
    previous: int = 0
    prekey: Fields | None = None  # goes in front of every message until the peer has answered
    base: bytes = b""

    @classmethod
    def initiate(cls, identity: KeyPair, registration: int, keys: Prekeys) -> Session:
        base, ratchet = KeyPair.generate(), KeyPair.generate()
        secret = (
            _X3DH_PREFIX + identity.dh(keys.signed_key) + base.dh(keys.identity) + base.dh(keys.signed_key)
        )
        head = Fields({5: registration, 6: keys.signed_id, 2: DJB + base.public, 3: DJB + identity.public})
        if keys.one_time:
            secret += base.dh(keys.one_time[1])
            head[1] = keys.one_time[0]
        out = hkdf(secret, b"WhisperText", 64)
        root, sending = _root_step(out[:32], ratchet.dh(keys.signed_key))
        first = {keys.signed_key: Chain(out[32:])}
        return cls(
            identity.public, keys.identity, root, ratchet, sending, first, prekey=head, base=base.public
        )

    @classmethod
    def accept(cls, identity: KeyPair, signed: KeyPair, theirs: bytes, base: bytes) -> Session:
        """From a prekey message that used no one-time key (a phone here offers none)."""
        secret = _X3DH_PREFIX + signed.dh(theirs) + identity.dh(base) + signed.dh(base)
        out = hkdf(secret, b"WhisperText", 64)
        return cls(identity.public, theirs, out[:32], signed, Chain(out[32:]), base=base)

    def encrypt(self, plain: bytes) -> tuple[str, bytes]:
        """Returns (enc type, ciphertext)."""
        counter = self.sending.counter
        cipher_key, mac_key, iv = _message_keys(self.sending.step())
        sealed = cbc_seal(cipher_key, iv, plain)
        body = (
            VERSION + Fields({1: DJB + self.ratchet.public, 2: counter, 3: self.previous, 4: sealed}).pack()
        )
        body += mac(mac_key, DJB + self.ours, DJB + self.theirs, body)[:_MAC_SIZE]
        if self.prekey is not None:
            return "pkmsg", VERSION + Fields({**self.prekey, 4: body}).pack()
        return "msg", body

    def decrypt(self, body: bytes) -> bytes:
        """Raises Undecryptable; the session moves on only when the message proves its key."""
        fields = Fields.unpack(body[1:-_MAC_SIZE])
        their_ratchet, counter, sealed = fields.blob(1)[1:], fields.number(2), fields.blob(4)
        chain = self.receiving.get(their_ratchet)
        if chain is not None:
            plain = self._open(chain, counter, body, sealed)
        else:
            root, chain = _root_step(self.root, self.ratchet.dh(their_ratchet))
            plain = self._open(chain, counter, body, sealed)
            self.receiving[their_ratchet] = chain
            self.ratchet, self.previous = KeyPair.generate(), max(self.sending.counter - 1, 0)
            self.root, self.sending = _root_step(root, self.ratchet.dh(their_ratchet))
        self.prekey = None
        return plain

    def _open(self, chain: Chain, counter: int, body: bytes, sealed: bytes) -> bytes:
        cipher_key, mac_key, iv = _message_keys(chain.seed_for(counter))
        expected = mac(mac_key, DJB + self.theirs, DJB + self.ours, body[:-_MAC_SIZE])[:_MAC_SIZE]
        if not hmac.compare_digest(expected, body[-_MAC_SIZE:]):
            raise Undecryptable("bad message MAC")
        return cbc_open(cipher_key, iv, sealed)


class Endpoint:
    """The sessions of one phone with other devices, by LID address."""

    def __init__(self, identity: KeyPair, signed: KeyPair, registration: int) -> None:
        self._identity, self._signed, self._registration = identity, signed, registration
        self._sessions: dict[str, list[Session]] = {}  # newest first

    def knows(self, address: str) -> bool:
        return bool(self._sessions.get(address))

    def start(self, address: str, keys: Prekeys) -> None:
        """A new session becomes the one we send with."""
        session = Session.initiate(self._identity, self._registration, keys)
        self._sessions.setdefault(address, []).insert(0, session)

    def forget(self, address: str) -> None:
        """Lose the sessions with a device, as a reinstalled phone does."""
        self._sessions.pop(address, None)

    def encrypt(self, address: str, plain: bytes) -> tuple[str, bytes]:
        return self._sessions[address][0].encrypt(pad(plain))

    def decrypt(self, address: str, kind: str, body: bytes) -> bytes:
        """Raises Undecryptable when no session opens it."""
        known = self._sessions.setdefault(address, [])
        if kind == "pkmsg":
            body = self._greet(known, body)
        for session in list(known):
            try:
                plain = session.decrypt(body)
            except (ValueError, KeyError, IndexError):
                continue
            if session is not known[0]:
                known.remove(session)
                known.insert(0, session)
            return unpad(plain)
        raise Undecryptable(f"none of {len(known)} sessions opens the message")

    def _greet(self, known: list[Session], body: bytes) -> bytes:
        head = Fields.unpack(body[1:])
        base, theirs = head.blob(2)[1:], head.blob(3)[1:]
        if not any(s.base == base for s in known):
            known.insert(0, Session.accept(self._identity, self._signed, theirs, base))
        return head.blob(4)
