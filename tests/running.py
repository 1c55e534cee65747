"""A real gateway in a process of its own, on a free loopback port, and an account to use it with."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
from patience import PATIENCE_S

from appliance import control

NOBODYS_PORTS = range(10_000, 32_000)
"""Below those that outgoing connections get (ip(7), ip_local_port_range)."""
PROGRAM = (sys.executable, "-m", "appliance")


def free_port() -> int:
    """A loopback port that nobody listens on now, and that the system gives to no connection meanwhile."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.choice(NOBODYS_PORTS)))
            return int(probe.getsockname()[1])


def until(what: str, check: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """The first true value of `check`; fails after `timeout_s`, saying what was waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        if found := check():
            return found
        assert time.monotonic() < deadline, f"no {what} within {timeout_s} s"
        time.sleep(0.01)


def answered(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer, asked for again while there is none: when a certificate is swapped, a connection that the
    old listener still took may be cut, before its request or after."""

    def check() -> httpx.Response | None:
        with contextlib.suppress(httpx.TransportError):
            return ask()
        return None

    found: httpx.Response = until("answer", check)
    return found


class Account:
    """One account's way in: an HTTP client with its key."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        self.http = httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=PATIENCE_S)
        weakref.finalize(self, self.http.close)

    def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The JSON answer to a request that must succeed."""
        answer = self.http.request(method, path, json=body, **more)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def every(self, path: str) -> list[Any]:
        """Every item of a list, page by page."""
        page = self.ok("GET", path, params={"limit": 200})
        items: list[Any] = page["items"]
        while page["nextCursor"]:
            page = self.ok("GET", path, params={"limit": 200, "cursor": page["nextCursor"]})
            items += page["items"]
        return items

    def refused(self, status: int, code: str, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The problem document of a request that must be refused that way."""
        answer = self.http.request(method, path, json=body, **more)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        assert answer.headers["content-type"].startswith("application/problem+json")
        problem = answer.json()
        assert problem["code"] == code, problem
        return problem

    def device(self, name: str = "sandbox", **more: Any) -> str:
        """A new sandbox device, linked and connected; its id."""
        device_id = self.ok("POST", "/devices", {"name": name, "sandbox": True, **more})["id"]
        self.ok("POST", f"/devices/{device_id}/connect")
        self.ok("POST", f"/devices/{device_id}/sandbox/scan", {})
        self.connected(device_id)
        return str(device_id)

    def connected(self, device_id: str, timeout_s: float = PATIENCE_S) -> Any:
        """The device once it is CONNECTED."""

        def check() -> Any:
            device = self.ok("GET", f"/devices/{device_id}")
            return device if device["status"] == "CONNECTED" else None

        return until("connected device", check, timeout_s)

    def send(self, device_id: str, to: str, text: str = "Halo!", **more: Any) -> Any:
        return self.ok("POST", "/messages/send-text", {"deviceId": device_id, "to": to, "text": text, **more})

    def message(self, message_id: str, status: str, timeout_s: float = PATIENCE_S) -> Any:
        """The message once it has that status."""

        def check() -> Any:
            message = self.ok("GET", f"/messages/{message_id}")
            return message if message["status"] == status else None

        return until(f"message {status}", check, timeout_s)


class Running:
    """A gateway process on `data`. `start` and `stop` may be called again and again."""

    def __init__(
        self,
        data: Path,
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        program: tuple[str, ...] = PROGRAM,
        config: Path | None = None,
    ) -> None:
        self.data = data
        self.port = free_port()
        self.settings = dict(settings or {})
        scheme = "https" if any(name.startswith("tls.") for name in self.settings) else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.config = config
        self.environment = dict(environment or {})
        self.program = program
        self.log = data.with_name(data.name + ".log")
        self.process: subprocess.Popen[bytes]
        self._accounts: list[Account] = []

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        options = {"server.port": self.port, "data_dir": str(self.data), **self.settings}
        flags = [f"--set={name}={json.dumps(value)}" for name, value in options.items()]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.program, "serve", *flags, *(["--config", str(self.config)] if self.config else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        until("ready gateway", self._is_ready)
        return self

    def stop(self) -> int:
        """SIGTERM to the whole process group, as systemd and a terminal do; returns the exit code."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def kill(self, *, group: bool = True) -> None:
        """SIGKILL, for the whole group or the main process alone."""
        if group:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait(PATIENCE_S)

    def account(self, email: str | None = None, *, admin: bool = False) -> Account:
        """A new account, made through the control socket as the command line does."""
        email = email or f"{time.time_ns()}@example.test"
        answer = control.ask(
            self.data, "user-create", email=email, name="Test", password="a long password", admin=admin
        )
        assert answer is not None
        assert "apiKey" in answer, answer
        self._accounts.append(Account(self.url, answer["apiKey"]))
        return self._accounts[-1]

    def close(self) -> None:
        """Close the connections of its accounts: nobody will ask it again."""
        for account in self._accounts:
            account.http.close()

    def logged(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"the gateway ended:\n{self.logged()[-3000:]}"
        try:
            # Without TLS to come: each client would read the machine's certificates first.
            return httpx.get(f"{self.url}/readyz", timeout=2, verify=False).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def running(data: Path, **options: Any) -> Iterator[Running]:
    """A gateway for the length of a `with` block; it must end cleanly."""
    gateway = Running(data, **options).start()
    try:
        yield gateway
    finally:
        gateway.close()
        code = gateway.stop()
    assert code == 0, f"exit code {code}:\n{gateway.logged()[-3000:]}"
