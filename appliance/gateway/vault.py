"""Secrets at rest: AES-256-GCM under a key file that only the gateway's user can read."""

import secrets
import shlex
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from appliance.gateway.secret_file import write_secret
from appliance.model.told import Told

_KEY_BYTES = 32
_NONCE_BYTES = 12


class VaultError(Told):
    """The key file is unreadable, or a sealed value was not sealed with it."""


class Vault:
    """Seals and opens small secrets. `purpose` is bound into the seal, so that one column's value opens in
    no other."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._key = key

    @classmethod
    def from_file(cls, path: Path, *, is_first: bool = True) -> "Vault":
        """The vault whose key stands in `path`; a missing file is made, mode 0600, but only if `is_first`:
        with another key nothing that was sealed before would open. Raises VaultError."""
        if not path.exists():
            if not is_first:
                raise VaultError(
                    f"{path} is missing, and what is sealed with it cannot be read: webhook secrets, shown "
                    "API keys, proxies. Put it back from a backup. To go on without them, put a new one "
                    f"there: head -c 32 /dev/urandom >{shlex.quote(str(path))}"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            write_secret(path, secrets.token_bytes(_KEY_BYTES))
        try:
            key = path.read_bytes()
        except OSError as error:
            raise VaultError(f"{path}: {error.strerror}.") from None
        if len(key) != _KEY_BYTES:
            raise VaultError(f"{path} does not hold a key of {_KEY_BYTES} bytes: restore it from a backup.")
        return cls(key)

    def seal(self, plain: bytes, purpose: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """The secret; raises VaultError when it was sealed with another key or for another purpose."""
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose.encode())
        except (InvalidTag, ValueError):
            raise VaultError("A stored secret does not open with this key file.") from None

    def derived(self, purpose: str) -> bytes:
        """A key of 32 bytes for signing something else (media links), the same after a restart."""
        return HKDF(hashes.SHA256(), _KEY_BYTES, None, purpose.encode()).derive(self._key)
