"""Throwaway trust: a TLS CA with one server certificate, and a Noise root with its certificate chain."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from loopback.curve import KeyPair
from loopback.protos import cert

HOSTS = ("web.whatsapp.com", "*.whatsapp.com", "mmg.whatsapp.net", "*.whatsapp.net", "localhost")
_DAY_S = 86_400
_YEAR = dt.timedelta(days=365)
_CA_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback throwaway test CA")])


class Pki:
    """Loads `ca.pem`, `server.pem` and `noise_root.key` from a folder, making them first when missing."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ca_file = folder / "ca.pem"
        self._server_file = folder / "server.pem"
        root_file = folder / "noise_root.key"
        if not self._server_file.exists():
            self._make_tls()
        if not root_file.exists():
            root_file.write_bytes(KeyPair.generate().private)
        self.noise_root = KeyPair.from_private(root_file.read_bytes())
        self.noise_static = KeyPair.generate()
        self.noise_chain = self._make_noise_chain()

    def tls_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._server_file)
        return context

    def _make_tls(self) -> None:
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        ca = _certificate(_CA_NAME, ca_key.public_key()).add_extension(constraints, critical=True)
        self.ca_file.write_bytes(_pem(ca.sign(ca_key, hashes.SHA256())))
        names: list[x509.GeneralName] = [x509.DNSName(h) for h in HOSTS]
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOSTS[0])])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        leaf = _certificate(subject, key.public_key()).add_extension(usage, critical=False)
        leaf = leaf.add_extension(x509.SubjectAlternativeName(names), critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._server_file.write_bytes(private + _pem(leaf.sign(ca_key, hashes.SHA256())))

    def _make_noise_chain(self) -> bytes:
        """The root signs an intermediate, that signs a leaf, whose key is the server's Noise static key."""
        now, middle = int(time.time()), KeyPair.generate()
        link = cert.CertChain.NoiseCertificate
        span = {"notBefore": now - _DAY_S, "notAfter": now + 365 * _DAY_S}
        inter = link.Details(serial=1, issuerSerial=0, key=middle.public, **span).SerializeToString()
        leaf = link.Details(serial=2, issuerSerial=1, key=self.noise_static.public, **span)
        details = leaf.SerializeToString()
        chain = cert.CertChain(
            intermediate=link(details=inter, signature=self.noise_root.sign(inter)),
            leaf=link(details=details, signature=middle.sign(details)),
        )
        return bytes(chain.SerializeToString())


def _certificate(subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(_CA_NAME).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + _YEAR)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
