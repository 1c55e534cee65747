"""App state ("syncd"): an account's encrypted, versioned settings that all its devices share."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import struct
import time
from dataclasses import dataclass, field
from typing import Any

from loopback.crypto import cbc_open, cbc_seal, hkdf, mac
from loopback.protos import action, sync

NAMES = ("critical_block", "critical_unblock_low", "regular_high", "regular", "regular_low")
_SET = sync.SyncdMutation.SET
_MAC_SIZE = 32


@dataclass(slots=True)
class Collection:
    """One named log of patches and the LT-hash over its present values."""

    name: str
    version: int = 0
    hash: bytes = bytes(128)
    values: dict[bytes, bytes] = field(default_factory=dict)  # index MAC -> value MAC
    patches: list[bytes] = field(default_factory=list)

    def advance(self, patch: Any) -> bytes:
        """The LT-hash after a patch: each replaced value's expansion subtracted, each new one's added."""
        words = list(struct.unpack("<64H", self.hash))
        for mutation in patch.mutations:
            if (old := self.values.get(mutation.record.index.blob)) is not None:
                _fold(words, old, -1)
            if mutation.operation == _SET:
                _fold(words, mutation.record.value.blob[-_MAC_SIZE:], 1)
        return struct.pack("<64H", *words)


def _fold(words: list[int], value_mac: bytes, sign: int) -> None:
    expansion = struct.unpack("<64H", hkdf(value_mac, b"WhatsApp Patch Integrity", 128))
    for i, word in enumerate(expansion):
        words[i] = (words[i] + sign * word) & 0xFFFF


class AppState:
    """One sync key per account, known to its phone; companions get it from there."""

    def __init__(self) -> None:
        self.key_id, self.key_data, self.made_at_s = os.urandom(6), os.urandom(32), int(time.time())
        out = hkdf(self.key_data, b"WhatsApp Mutation Keys", 160)
        keys = [out[i : i + 32] for i in range(0, 160, 32)]
        self._index_key, self._cipher_key, self._value_key, self._snapshot_key, self._patch_key = keys
        self.collections = {name: Collection(name) for name in NAMES}
        self._actions: list[tuple[list[str], bytes]] = []

    @property
    def actions(self) -> list[tuple[list[str], Any]]:
        """Everything set so far: (index, SyncActionValue)."""
        return [(index, action.SyncActionValue.FromString(raw)) for index, raw in self._actions]

    def set(self, collection: str, index: list[str], value: Any, version: int) -> None:
        """Make and apply the phone's own patch."""
        value.timestamp = int(time.time() * 1000)
        raw = json.dumps(index, separators=(",", ":")).encode()
        plain = action.SyncActionData(index=raw, value=value, padding=b"", version=version)
        iv = os.urandom(16)
        sealed = iv + cbc_seal(self._cipher_key, iv, plain.SerializeToString())
        record = sync.SyncdRecord(
            index={"blob": mac(self._index_key, raw)},
            value={"blob": sealed + self._content_mac(sealed)},
            keyID={"ID": self.key_id},
        )
        mutation = sync.SyncdMutation(operation=_SET, record=record)
        patch = sync.SyncdPatch(mutations=[mutation], keyID={"ID": self.key_id})
        state = self.collections[collection]
        new_hash = state.advance(patch)
        patch.snapshotMAC = self._snapshot_mac(state, new_hash)
        patch.patchMAC = self._patch_mac(state, patch)
        self._commit(state, patch, new_hash)

    def accept(self, collection: str, raw: bytes) -> bool:
        """Apply a companion's patch; False if its MACs do not fit (an inconsistent client)."""
        patch, state = sync.SyncdPatch.FromString(raw), self.collections[collection]
        new_hash = state.advance(patch)
        if patch.snapshotMAC != self._snapshot_mac(state, new_hash):
            return False
        self._commit(state, patch, new_hash)
        return True

    def _commit(self, state: Collection, patch: Any, new_hash: bytes) -> None:
        for mutation in patch.mutations:
            index, value = mutation.record.index.blob, mutation.record.value.blob
            if mutation.operation != _SET:
                state.values.pop(index, None)
                continue
            state.values[index] = value[-_MAC_SIZE:]
            plain = cbc_open(self._cipher_key, value[:16], value[16:-_MAC_SIZE])
            data = action.SyncActionData.FromString(plain)
            self._actions.append((json.loads(data.index), data.value.SerializeToString()))
        state.version, state.hash = state.version + 1, new_hash
        patch.version.version = state.version
        state.patches.append(patch.SerializeToString())

    def _content_mac(self, sealed: bytes) -> bytes:
        parts = bytes((_SET + 1,)) + self.key_id + sealed + (len(self.key_id) + 1).to_bytes(8, "big")
        return hmac.digest(self._value_key, parts, hashlib.sha512)[:_MAC_SIZE]

    def _snapshot_mac(self, state: Collection, new_hash: bytes) -> bytes:
        version = (state.version + 1).to_bytes(8, "big")
        return mac(self._snapshot_key, new_hash, version, state.name.encode())

    def _patch_mac(self, state: Collection, patch: Any) -> bytes:
        values = b"".join(m.record.value.blob[-_MAC_SIZE:] for m in patch.mutations)
        version = (state.version + 1).to_bytes(8, "big")
        return mac(self._patch_key, patch.snapshotMAC, values, version, state.name.encode())
