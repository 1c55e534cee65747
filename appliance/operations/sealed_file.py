"""A file sealed with a passphrase: encrypted and authenticated in pieces, written and read in one go with the
memory of a few pieces.

Header (numbers big-endian): 16 bytes MAGIC, then argon2id's memory in KiB (u32), passes (u16) and lanes
(u16), a salt of 16 bytes, and 16 bytes by which a wrong passphrase is told from a damaged file. argon2id
gives 48 bytes: the key of AES-256-GCM, then those 16.

Pieces: PIECE bytes of content each, only the last may be shorter, followed by their tag of 16 bytes. The
nonce is the piece's number (11 bytes, from 0) and a byte that is 1 for the last piece and else 0; the header
is authenticated with every piece. A file that was cut short, changed or put together differently does not
open.
"""

import secrets
import struct
import unicodedata
from typing import BinaryIO

import argon2.low_level
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"WA-GATEWAY-SEAL\x01"
PIECE = 1024 * 1024
_TAG = 16
_KEY = 32
_HEADER = struct.Struct(">16sIHH16s16s")
_LARGEST_KIB, _MOST_PASSES, _MOST_LANES = 1024 * 1024, 64, 16
"""More than any file of ours asks for: a header must not be able to take all memory or an hour."""


class NotSealed(Exception):
    """The file is none of ours, or of a later format."""


class WrongPassphrase(Exception):
    """The passphrase is not the one that the file was sealed with."""


class Damaged(Exception):
    """The file was cut short or changed after it was sealed."""


class Effort(msgspec.Struct, frozen=True):
    """What one guess at the passphrase costs: argon2id's memory in KiB, passes and lanes."""

    memory_kib: int = 64 * 1024
    passes: int = 3
    lanes: int = 1


class SealedWriter:
    """Seals what is written to it into `out`; nothing counts before `finish`."""

    def __init__(self, out: BinaryIO, passphrase: str, effort: Effort | None = None) -> None:
        effort = effort or Effort()
        salt = secrets.token_bytes(16)
        key, check = _derived(passphrase, salt, effort)
        self._header = _HEADER.pack(MAGIC, effort.memory_kib, effort.passes, effort.lanes, salt, check)
        self._aead = AESGCM(key)
        self._out = out
        self._waiting = bytearray()
        self._number = 0
        out.write(self._header)

    def write(self, data: bytes) -> None:
        """Raises OSError."""
        self._waiting += data
        # What fills the last piece to the brim waits: more may follow, and then it is not the last.
        while len(self._waiting) > PIECE:
            self._seal(bytes(self._waiting[:PIECE]), last=False)
            del self._waiting[:PIECE]

    def finish(self) -> None:
        """Write the last piece; only now the file is whole. Raises OSError."""
        self._seal(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _seal(self, piece: bytes, *, last: bool) -> None:
        self._out.write(self._aead.encrypt(_nonce(self._number, last=last), piece, self._header))
        self._number += 1


class SealedReader:
    """Opens what SealedWriter sealed. Raises NotSealed, WrongPassphrase, OSError at once; what `read`
    returned is authentic, but only at the end (b"") is it known to be all."""

    def __init__(self, source: BinaryIO, passphrase: str) -> None:
        self._source = source
        self._header = source.read(_HEADER.size)
        key, check = self._key(passphrase)
        if not secrets.compare_digest(check, self._header[-len(check) :]):
            raise WrongPassphrase
        self._aead = AESGCM(key)
        self._number = 0
        self._next = source.read(PIECE + _TAG)
        self._open = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; fewer only at the end. Raises Damaged, OSError."""
        parts = []
        while size > 0 and (self._at < len(self._open) or self._advance()):
            part = self._open[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _advance(self) -> bool:
        """Open the next piece; False when there is none."""
        if self._number > 0 and not self._next:
            return False
        piece, self._next = self._next, self._source.read(PIECE + _TAG)
        try:
            nonce = _nonce(self._number, last=not self._next)
            self._open = self._aead.decrypt(nonce, piece, self._header)
        except (InvalidTag, ValueError):
            raise Damaged from None
        self._at = 0
        self._number += 1
        return bool(self._open)

    def _key(self, passphrase: str) -> tuple[bytes, bytes]:
        if len(self._header) < _HEADER.size or not self._header.startswith(MAGIC):
            raise NotSealed
        _, memory_kib, passes, lanes, salt, _ = _HEADER.unpack(self._header)
        possible = (
            0 < lanes <= _MOST_LANES
            and 8 * lanes <= memory_kib <= _LARGEST_KIB
            and 0 < passes <= _MOST_PASSES
        )
        if not possible:
            raise NotSealed
        return _derived(passphrase, salt, Effort(memory_kib, passes, lanes))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _derived(passphrase: str, salt: bytes, effort: Effort) -> tuple[bytes, bytes]:
    """The key and the check. The same letters typed on different keyboards are the same passphrase."""
    made = argon2.low_level.hash_secret_raw(
        unicodedata.normalize("NFC", passphrase).encode(),
        salt,
        time_cost=effort.passes,
        memory_cost=effort.memory_kib,
        parallelism=effort.lanes,
        hash_len=_KEY + 16,
        type=argon2.low_level.Type.ID,
    )
    return made[:_KEY], made[_KEY:]
