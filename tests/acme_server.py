"""A real ACME server on loopback: Let's Encrypt's own `pebble`, and a name server that says that everything
is here."""

import json
import os
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pairs import HERE, pair
from patience import PATIENCE_S
from running import free_port, until

VERSION = "v2.10.1"
PACKAGE = "github.com/letsencrypt/pebble/v2/cmd/pebble"
TOOLS = Path(__file__).resolve().parent / "artefacts" / "tools"
BUILD_S = 100.0
_A_RECORD, _ADDRESS = 1, b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04\x7f\x00\x00\x01"


class AcmeServer:
    """Where its directory is, who vouches for it (`ca`), and where it asks for challenges (`http_port`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.http_port, self._manage = free_port(), free_port(), free_port()
        self.directory = f"https://{HERE}:{self.port}/dir"
        self.ca, self._key = pair(folder)

    def root(self) -> str:
        """The certificate that vouches for what it gives."""
        return httpx.get(f"https://{HERE}:{self._manage}/roots/0", verify=False).text

    def config(self) -> str:
        return json.dumps(
            {
                "pebble": {
                    "listenAddress": f"{HERE}:{self.port}",
                    "managementListenAddress": f"{HERE}:{self._manage}",
                    "certificate": str(self.ca),
                    "privateKey": str(self._key),
                    "httpPort": self.http_port,
                    "tlsPort": free_port(),
                    "retryAfter": {"authz": 1, "order": 1},
                }
            }
        )


@contextmanager
def acme_server(folder: Path) -> Iterator[AcmeServer]:
    """Runs one; skips the test where there is neither `pebble` nor what builds it."""
    program, server = _pebble(), AcmeServer(folder)
    config = folder / "pebble.json"
    config.write_text(server.config())
    with _names() as names, (folder / "pebble.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-config", config, "-dnsserver", names, "-strict"],
            stdout=log,
            stderr=log,
            # By itself it refuses one request in twenty for its nonce; two in a row would fail an order.
            env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
        )
        try:
            until("ACME directory", lambda: _answers(server))
            yield server
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _answers(server: AcmeServer) -> bool:
    try:
        return httpx.get(server.directory, verify=False).is_success
    except httpx.TransportError:
        return False


def _pebble() -> str:
    built, go = TOOLS / "pebble", shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found := shutil.which("pebble"):
        return found
    if not built.exists():
        if go is None:
            pytest.skip("neither pebble nor go is here")
        try:
            subprocess.run(
                [go, "install", f"{PACKAGE}@{VERSION}"],
                env={**os.environ, "GOBIN": str(TOOLS), "GOTOOLCHAIN": "local"},
                check=True,
                capture_output=True,
                timeout=BUILD_S,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            pytest.skip("pebble cannot be built here")
    return str(built)


@contextmanager
def _names() -> Iterator[str]:
    """A name server, asked over TCP: every name has the address of this machine."""
    with socketserver.ThreadingTCPServer((HERE, 0), _Names) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"{HERE}:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class _Names(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while length := int.from_bytes(self.rfile.read(2)):
            answer = _answer(self.rfile.read(length))
            self.wfile.write(len(answer).to_bytes(2) + answer)


def _answer(packet: bytes) -> bytes:
    end = packet.index(b"\0", 12) + 5
    is_address = int.from_bytes(packet[end - 4 : end - 2]) == _A_RECORD
    counts = b"\0\x01" + (b"\0\x01" if is_address else b"\0\0") + b"\0\0\0\0"
    return packet[:2] + b"\x81\x80" + counts + packet[12:end] + (_ADDRESS if is_address else b"")
