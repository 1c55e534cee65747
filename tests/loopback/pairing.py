"""Pairing as the primary device does it: by QR code and by link code."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from loopback.crypto import hkdf, mac
from loopback.curve import KeyPair, verify
from loopback.protos import adv

_ACCOUNT_PREFIX, _DEVICE_PREFIX = b"\6\0", b"\6\1"
_CODE_ROUNDS = 2 << 16


@dataclass(frozen=True, slots=True)
class QrCode:
    """What the companion's QR code says."""

    ref: str
    noise_public: bytes
    identity_public: bytes
    adv_secret: bytes

    @classmethod
    def parse(cls, text: str) -> QrCode:
        """Read `[https://wa.me/settings/linked_devices#]ref,noise,identity,adv[,client type]`."""
        ref, *keys = text.rpartition("#")[2].split(",")
        noise, identity, secret = (base64.b64decode(k) for k in keys[:3])
        return cls(ref, noise, identity, secret)


def sign_companion(account: KeyPair, companion: bytes, adv_secret: bytes, key_index: int) -> bytes:
    """The `<device-identity>` of pair-success: signed by the account, under the shared ADV secret."""
    raw_id = int.from_bytes(os.urandom(3), "big")
    details = adv.ADVDeviceIdentity(rawID=raw_id, timestamp=int(time.time()), keyIndex=key_index)
    raw = details.SerializeToString()
    signed = adv.ADVSignedDeviceIdentity(
        details=raw,
        accountSignatureKey=account.public,
        accountSignature=account.sign(_ACCOUNT_PREFIX + raw + companion),
    ).SerializeToString()
    sealed = adv.ADVSignedDeviceIdentityHMAC(details=signed, HMAC=mac(adv_secret, signed))
    return bytes(sealed.SerializeToString())


def is_self_signed(account: KeyPair, companion: bytes, device_identity: bytes) -> bool:
    """Check the companion's answer in pair-device-sign (the account key is left out of that copy)."""
    signed = adv.ADVSignedDeviceIdentity.FromString(device_identity)
    message = _DEVICE_PREFIX + signed.details + companion + account.public
    return verify(companion, message, signed.deviceSignature)


def _code_cipher(code: str, salt: bytes, iv: bytes, data: bytes) -> bytes:
    key = hashlib.pbkdf2_hmac("sha256", code.encode(), salt, _CODE_ROUNDS, 32)
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)


class LinkCode:
    """Pairing by an 8-character code that the companion shows and the person types on the phone."""

    def __init__(self, account: KeyPair, code: str, wrapped_companion: bytes) -> None:
        code = code.replace("-", "").upper()
        salt, iv, sealed = wrapped_companion[:32], wrapped_companion[32:48], wrapped_companion[48:80]
        companion, ephemeral = _code_cipher(code, salt, iv, sealed), KeyPair.generate()
        self._account = account
        self._shared = ephemeral.dh(companion)
        salt, iv = os.urandom(32), os.urandom(16)
        self.wrapped_primary = salt + iv + _code_cipher(code, salt, iv, ephemeral.public)

    def finish(self, wrapped_bundle: bytes) -> bytes:
        """The ADV secret both sides now share. Raises InvalidTag when the typed code was wrong."""
        salt, nonce, sealed = wrapped_bundle[:32], wrapped_bundle[32:44], wrapped_bundle[44:]
        key = hkdf(self._shared, b"link_code_pairing_key_bundle_encryption_key", 32, salt)
        bundle = AESGCM(key).decrypt(nonce, sealed, None)
        companion, random = bundle[:32], bundle[64:96]
        return hkdf(self._shared + self._account.dh(companion) + random, b"adv_secret", 32)
