"""Receivers whose certificate does not hold are sent nothing."""

import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from running import Account, Running, until

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
HERE = "127.0.0.1"
CASES = {
    "good": (HERE, NOW - DAY, NOW + DAY),
    "self-signed": (HERE, NOW - DAY, NOW + DAY),
    "another name": ("elsewhere.test", NOW - DAY, NOW + DAY),
    "expired": (HERE, NOW - 9 * DAY, NOW - DAY),
    "not yet valid": (HERE, NOW + DAY, NOW + 9 * DAY),
}


def certificate(path: Path, name: str, begins: datetime.datetime, ends: datetime.datetime) -> bytes:
    """Write a self-signed certificate with its key to `path`; returns the certificate as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, path.name)])
    alternative = x509.IPAddress(ip_address(name)) if name == HERE else x509.DNSName(name)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = signed.public_bytes(pem)
    path.write_bytes(private + public)
    return public


@contextmanager
def receiving(pem: Path) -> Iterator[tuple[str, list[bytes]]]:
    """A TLS receiver's address, and what it was sent after the handshake."""
    got: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    listener = socket.create_server((HERE, 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    if read := connection.recv(65536):
                        got.append(read)
                        connection.sendall(
                            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        )
            except OSError:
                plain.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"https://{HERE}:{listener.getsockname()[1]}/", got
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture
def account(tmp_path: Path, start: Callable[..., Running]) -> Account:
    """On a gateway that trusts every certificate of the cases but the self-signed one."""
    certificates = {case: certificate(tmp_path / case, *CASES[case]) for case in CASES}
    bundle = tmp_path / "trusted.pem"
    bundle.write_bytes(b"".join(pem for case, pem in certificates.items() if case != "self-signed"))
    return start(environment={"SSL_CERT_FILE": str(bundle)}).account()


def test_only_a_certificate_that_holds_is_sent_to(account: Account, tmp_path: Path) -> None:
    for case in CASES:
        with receiving(tmp_path / case) as (url, got):
            path = f"/webhooks/{account.ok('POST', '/webhooks', {'url': url})['id']}"
            delivery = f"{path}/deliveries/{account.ok('POST', f'{path}/test')['id']}"

            def tried(delivery: str = delivery) -> bool:
                return bool(account.ok("GET", delivery)["attemptCount"])

            until(f"attempt for {case}", tried)
            found = account.ok("GET", delivery)
            assert (found["lastStatus"], found["lastError"]) == (
                (200, None) if case == "good" else (None, "tls")
            ), case
            assert len(got) == (case == "good"), case
            account.http.delete(path)
