"""Receivers whose certificate does not hold are sent nothing."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pairs import HERE, pair
from running import Account, Running, until

CASES: dict[str, dict[str, Any]] = {
    "good": {},
    "self-signed": {},
    "another name": {"names": ("elsewhere.test",)},
    "expired": {"age_days": 9, "days": 8},
    "not yet valid": {"age_days": -1},
}
"""What is particular about each certificate; nobody trusts the self-signed one."""


@contextmanager
def receiving(certificate: Path, key: Path) -> Iterator[tuple[str, list[bytes]]]:
    """A TLS receiver's address, and what it was sent after the handshake."""
    got: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
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
def pairs_of(tmp_path: Path) -> dict[str, tuple[Path, Path]]:
    return {case: pair(tmp_path / case, **particular) for case, particular in CASES.items()}


@pytest.fixture
def account(tmp_path: Path, pairs_of: dict[str, tuple[Path, Path]], start: Callable[..., Running]) -> Account:
    """On a gateway that trusts every certificate of the cases but the self-signed one."""
    bundle = tmp_path / "trusted.pem"
    trusted = [public.read_bytes() for case, (public, _) in pairs_of.items() if case != "self-signed"]
    bundle.write_bytes(b"".join(trusted))
    return start(environment={"SSL_CERT_FILE": str(bundle)}).account()


def test_only_a_certificate_that_holds_is_sent_to(
    account: Account, pairs_of: dict[str, tuple[Path, Path]]
) -> None:
    for case, (certificate, key) in pairs_of.items():
        with receiving(certificate, key) as (url, got):
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
