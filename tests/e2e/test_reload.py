"""Reading the configuration again: by SIGHUP and from the dashboard, in a gateway that goes on running."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from patience import PATIENCE_S
from running import PROGRAM, Account, Running, free_port, until

PASSWORD = "a long password"
FIRST: dict[str, dict[str, Any]] = {
    "limits": {"messages_per_minute": 30},
    "accounts": {"registration": "first"},
    "media": {"max_bytes": 1_000_000},
    "webhooks": {"allow": ["10.1.2.3"]},
    "store": {"cache_mib": 8},
}
NOWHERE = "http://10.9.9.9:8080/hook"


class Told:
    """A gateway with a configuration file, and the ways to change it."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.file = folder / "config.toml"
        self.write(FIRST)
        self.gateway = Running(folder / "data", config=self.file, environment=environment).start()
        self._before = 0

    def begin_again(self) -> None:
        """As at the start; what was logged before is forgotten."""
        self.write(FIRST)
        self.hang_up()
        self._before = len(self.gateway.logged())

    def logged(self) -> str:
        return self.gateway.logged()[self._before :]

    def write(self, settings: dict[str, dict[str, Any]], **more: dict[str, Any]) -> None:
        merged = {name: settings.get(name, {}) | more.get(name, {}) for name in {*settings, *more}}
        lines = [
            line
            for section, keys in merged.items()
            for line in (f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()))
        ]
        self.file.write_text("\n".join(lines))

    def hang_up(self) -> dict[str, Any]:
        """SIGHUP; what the log says of it."""
        before = len(self.told())
        os.kill(self.gateway.process.pid, signal.SIGHUP)
        until("word of the reload", lambda: len(self.told()) > before)
        return self.told()[-1]

    def told(self) -> list[dict[str, Any]]:
        lines = self.logged().splitlines()
        return [json.loads(line) for line in lines if '"config_re' in line]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    told = Told(tmp_path_factory.mktemp("reload"))
    yield told
    told.gateway.close()
    assert told.gateway.stop() == 0


@pytest.fixture
def told(running: Told) -> Told:
    running.begin_again()
    return running


@pytest.fixture
def email() -> str:
    return f"{time.time_ns()}@example.test"


@contextmanager
def signed_in(gateway: Running, email: str, *, admin: bool) -> Iterator[Browser]:
    gateway.account(email, admin=admin)
    browser = Browser(gateway.url)
    browser.sign_in(email, PASSWORD)
    yield browser
    browser.close()


def limits_of(account: Account) -> int:
    return int(account.ok("GET", "/auth/me")["rateLimit"]["perMinute"])


def test_what_can_change_changes_and_the_rest_waits(told: Told) -> None:
    account, _second = told.gateway.account(), told.gateway.account()
    device = account.device()
    account.refused(422, "webhook_url_forbidden", "POST", "/webhooks", {"url": NOWHERE})
    told.write(
        FIRST,
        limits={"messages_per_minute": 7, "default_country_code": "62"},
        media={"max_bytes": 10},
        webhooks={"allow": ["10.9.9.9"]},
        accounts={"registration": "open"},
        store={"cache_mib": 9},
        engine={"proxy": "http://proxy.example.org:3128"},
    )
    line = told.hang_up()
    assert line["event"] == "config_reloaded"
    assert sorted(line["applied"]) == [
        "accounts.registration",
        "limits.default_country_code",
        "limits.messages_per_minute",
        "media.max_bytes",
        "webhooks.allow",
    ]
    assert sorted(line["waiting"]) == ["engine.proxy", "store.cache_mib"]

    assert limits_of(account) == 7
    account.send(device, "0811222333")
    file = {
        "deviceId": device,
        "to": "628111222333",
        "kind": "document",
        "base64": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=",
    }
    account.refused(413, "media_too_large", "POST", "/messages/send-media", file)
    account.ok("POST", "/webhooks", {"url": NOWHERE})
    browser = Browser(told.gateway.url)
    assert browser.see("/register").status_code == 200
    browser.close()

    assert told.hang_up()["applied"] == []
    assert sorted(told.told()[-1]["waiting"]) == ["engine.proxy", "store.cache_mib"]


def test_what_cannot_be_used_changes_nothing_and_is_told(told: Told, email: str) -> None:
    with signed_in(told.gateway, email, admin=True) as admin:
        told.write(FIRST, limits={"messages_per_minute": 7, "message_per_minute": 8})
        line = told.hang_up()
        assert (line["event"], line["level"]) == ("config_refused", "error")
        assert "limits.message_per_minute. Did you mean 'messages_per_minute'?" in line["reason"]
        assert limits_of(told.gateway.account()) == 30
        page = admin.see("/dashboard/system").text
        assert "nothing was changed" in page
        assert "limits.message_per_minute" in page


def test_an_administrator_reloads_in_the_dashboard(told: Told, email: str) -> None:
    with (
        signed_in(told.gateway, email, admin=True) as admin,
        signed_in(told.gateway, f"not-{email}", admin=False) as somebody,
    ):
        told.write(FIRST, limits={"messages_per_minute": 7}, store={"cache_mib": 9})
        somebody.see("/dashboard")
        assert somebody.fill("/dashboard/system/reload").status_code == 404
        assert told.told() == []
        admin.see("/dashboard/system")
        answer = admin.fill("/dashboard/system/reload")
        assert answer.headers["location"] == "/dashboard/system#settings"
        page = admin.see("/dashboard/system").text
    assert "limits.messages_per_minute" in page.partition("Changed")[2]
    assert "store.cache_mib" in page.partition("Waits for a restart")[2]
    assert limits_of(told.gateway.account()) == 7


def test_the_log_moves_and_is_opened_again(told: Told, tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    told.write(FIRST, logs={"file": str(log), "level": "debug"})
    os.kill(told.gateway.process.pid, signal.SIGHUP)
    until("line in the file", lambda: log.exists() and "config_reloaded" in log.read_text())
    assert "config_reloaded" not in told.logged()
    log.rename(tmp_path / "moved.log")
    os.kill(told.gateway.process.pid, signal.SIGHUP)
    until("line in the new file", lambda: log.exists() and "config_reloaded" in log.read_text())

    told.write(FIRST, logs={"file": str(tmp_path / "none" / "x.log")}, limits={"messages_per_minute": 7})
    os.kill(told.gateway.process.pid, signal.SIGHUP)
    until("refusal", lambda: "config_refused" in log.read_text())
    assert "logs.file" in log.read_text()
    assert limits_of(told.gateway.account()) == 30


def test_systemd_is_told_of_a_reload(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(PATIENCE_S)
        told = Told(tmp_path, {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert notified.recv(100) == b"READY=1"
        told.hang_up()
        assert notified.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert notified.recv(100) == b"READY=1"
        assert told.gateway.stop() == 0


def test_the_end_of_its_terminal_stops_it(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    terminal, inside = os.openpty()
    with log.open("wb") as written:
        process = subprocess.Popen(
            [*PROGRAM, "serve", f"--set=server.port={port}", "--data-dir", tmp_path / "data"],
            stdin=inside,
            stderr=written,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
    os.close(inside)
    until("ready gateway", lambda: '"ready"' in log.read_text())
    process.send_signal(signal.SIGHUP)
    until("reload", lambda: "config_reloaded" in log.read_text())
    os.close(terminal)
    assert process.wait(PATIENCE_S) == 0
    assert '"signal": "SIGHUP"' in log.read_text()
