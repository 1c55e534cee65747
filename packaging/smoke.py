#!/usr/bin/env python3
"""Smoke test of a running gateway: links a sandbox device over HTTP, sends, receives, and says how long each
step took. Needs Python 3.11 and nothing else; starts nothing.

    packaging/smoke.py URL < FILE-WITH-THE-API-KEY        exit code: 0 well, 1 not, 2 wrong usage
"""

import argparse
import http.client
import json
import ssl
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

TEXT = "Smoke test"


class SmokeError(Exception):
    """What went wrong, in one sentence."""


class Client:
    """Requests with one API key, and the account's live stream. Every answer must come within `wait_s`."""

    def __init__(self, url: str, key: str, ca: str | None, wait_s: float) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SmokeError(f"{url} is not an http or https address")
        self._host, self._port, self._prefix = parts.hostname, parts.port, parts.path.rstrip("/")
        self._tls = ssl.create_default_context(cafile=ca) if parts.scheme == "https" else None
        self._key, self._wait_s = key, wait_s

    def ask(self, method: str, path: str, expected: int, body: Any = None) -> Any:
        """The decoded answer of a request. Raises SmokeError when its status is not `expected`."""
        sent = None if body is None else json.dumps(body).encode()
        connection, answer = self._request(method, path, sent, "application/json")
        content = answer.read()
        connection.close()
        if answer.status != expected:
            text = content[:500].decode(errors="replace")
            raise SmokeError(f"{method} {path} answered {answer.status}, not {expected}: {text}")
        return json.loads(content) if content else None

    def events(self) -> Iterator[tuple[str, Any]]:
        """Names and data of what the account's stream tells, from now on; the stream is open on return."""
        _, answer = self._request("GET", "/api/events", None, "text/event-stream")
        if answer.status != 200:
            raise SmokeError(f"the stream answered {answer.status}")
        return self._read(answer)

    def _request(
        self, method: str, path: str, body: bytes | None, accept: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=self._wait_s, context=self._tls)
            if self._tls is not None
            else http.client.HTTPConnection(self._host, self._port, timeout=self._wait_s)
        )
        headers = {"X-API-Key": self._key, "Accept": accept, "Content-Type": "application/json"}
        connection.request(method, self._prefix + path, body, headers)
        return connection, connection.getresponse()

    def _read(self, answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
        name = ""
        # A comment every 15 s keeps the socket's own timeout from ever ending this.
        ends_at = time.monotonic() + 10 * self._wait_s
        while time.monotonic() < ends_at:
            line = answer.readline().decode().rstrip("\n")
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)
        raise SmokeError("the stream told nothing of what was waited for")


class Smoke:
    """The road of one message, there and back, on a sandbox device of its own that is deleted afterwards."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._began = time.monotonic()

    def run(self) -> None:
        """Walk it, printing each step. Raises SmokeError, OSError or http.client.HTTPException."""
        client = self._client
        client.ask("GET", "/readyz", 200)
        self._tell("ready")
        events = client.events()
        device = client.ask("POST", "/api/devices", 201, {"name": "smoke test", "sandbox": True})["id"]
        self._tell("sandbox device made")
        try:
            self._link(device, events)
            self._send(device, events)
            self._receive(device, events)
        finally:
            client.ask("DELETE", f"/api/devices/{device}", 200)
        self._tell("device deleted")

    def _link(self, device: str, events: Iterator[tuple[str, Any]]) -> None:
        self._client.ask("POST", f"/api/devices/{device}/connect", 202)
        told(events, "qr", lambda data: data["deviceId"] == device)
        self._tell("QR code shown")
        self._client.ask("POST", f"/api/devices/{device}/sandbox/scan", 200, {})
        told(events, "status", lambda data: data["deviceId"] == device and data["status"] == "CONNECTED")
        self._tell("connected")

    def _send(self, device: str, events: Iterator[tuple[str, Any]]) -> None:
        message = {"deviceId": device, "to": "628111222333", "text": TEXT}
        sent = self._client.ask("POST", "/api/messages/send-text", 201, message)
        self._tell("sent: 201")
        self._follow(sent["id"], "delivered", events)
        self._follow(sent["id"], "read", events)

    def _follow(self, message: str, status: str, events: Iterator[tuple[str, Any]]) -> None:
        told(events, "message.status", lambda data: data["id"] == message and data["status"] == status)
        self._tell(status)

    def _receive(self, device: str, events: Iterator[tuple[str, Any]]) -> None:
        path = f"/api/devices/{device}/sandbox/receive"
        self._client.ask("POST", path, 201, {"from": "628111222333", "text": TEXT})
        told(events, "message.received", lambda data: data["deviceId"] == device and data["text"] == TEXT)
        self._tell("received")

    def _tell(self, step: str) -> None:
        print(f"{1000 * (time.monotonic() - self._began):8.0f} ms  {step}", flush=True)


def told(events: Iterator[tuple[str, Any]], name: str, wanted: Callable[[Any], bool]) -> None:
    """Returns once the stream has told that. Raises SmokeError when the stream ends first."""
    for event, data in events:
        if event == name and wanted(data):
            return
    raise SmokeError(f"the stream ended before {name}")


def main() -> int:
    """Take the command line's words, the key from stdin; returns the exit code."""
    parser = argparse.ArgumentParser(description="Smoke test of a gateway; its API key comes on stdin.")
    parser.add_argument("url", metavar="URL", help="the gateway's address, without /api")
    parser.add_argument("--ca", metavar="FILE", help="the certificate authority to trust for https")
    parser.add_argument("--wait", type=float, default=20, metavar="S", help="for each step (20)")
    options = parser.parse_args()
    key = sys.stdin.readline().strip()
    try:
        Smoke(Client(options.url, key, options.ca, options.wait)).run()
    except (SmokeError, OSError, http.client.HTTPException) as error:
        print(f"smoke.py: {error or type(error).__name__}", file=sys.stderr)
        return 1
    print("all well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
