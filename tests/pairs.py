"""Certificates with their keys, made for a test."""

import datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = "127.0.0.1"
PEM = serialization.Encoding.PEM


def pair(
    folder: Path,
    *,
    names: tuple[str, ...] = (HERE,),
    days: float = 90,
    age_days: float = 1,
    password: str = "",
    curve: ec.EllipticCurve | None = None,
) -> tuple[Path, Path]:
    """Write a self-signed `certificate.pem` and its `key.pem`; whoever trusts the first trusts the server."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(curve or ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a gateway under test")])
    begins = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=age_days)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_name(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    sealed: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        sealed = serialization.BestAvailableEncryption(password.encode())
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(signed.public_bytes(PEM))
    private.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, sealed))
    return certificate, private


def _name(text: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(text)) if text == HERE else x509.DNSName(text)
