"""https with one's own certificate: how it is spoken, swapped and refused."""

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from exposition import Scrape
from pairs import HERE, pair
from patience import PATIENCE_S
from running import Running, answered, running, until
from sse import following


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=certificate.read_text())


def shown(gateway: Running) -> str:
    """The certificate that a new connection gets."""
    return ssl.get_server_certificate((HERE, gateway.port), timeout=PATIENCE_S)


def shows_another_than(certificate: str, gateway: Running) -> bool:
    """A connection that is made in the moment in which the old listener ends may be cut."""
    try:
        return shown(gateway) != certificate
    except OSError:
        return False


def hang_up(gateway: Running) -> None:
    os.kill(gateway.process.pid, signal.SIGHUP)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the certificate and the key are."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def serving(folder: Path) -> Iterator[Running]:
    certificate, key = pair(folder)
    named = {"tls.certificate": str(certificate), "tls.key": str(key)}
    with running(folder / "data", settings=named) as gateway:
        yield gateway


def test_https_is_spoken_and_nothing_older(serving: Running, folder: Path) -> None:
    trust = trusting(folder / "certificate.pem")
    with httpx.Client(base_url=serving.url, verify=trust) as browser:
        login = browser.get("/login")
        assert login.status_code == 200
        cookies = login.headers.get_list("set-cookie")
        assert any(c.startswith("__Host-wa-form=") and "Secure" in c for c in cookies)
        index = browser.get("/api").json()
        assert index["docs"] == f"https://127.0.0.1:{serving.port}/docs"
        health = browser.get("/healthz").json()
    assert health["status"] == "ok"
    assert (health["certificate"]["source"], health["certificate"]["isWell"]) == ("files", True)
    assert f'"url": "https://127.0.0.1:{serving.port}"' in serving.logged()

    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert httpx.get(f"{serving.url}/healthz", verify=old).status_code == 200
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.deprecated_call():
        old.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.deprecated_call():
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{serving.url}/healthz", verify=old)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{serving.port}/healthz")

    asked = subprocess.run(
        [
            *(sys.executable, "-m", "appliance", "healthcheck", f"--set=server.port={serving.port}"),
            *(f"--set={name}='{value}'" for name, value in serving.settings.items()),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (asked.returncode, "is ready" in asked.stdout) == (0, True), asked.stderr


def test_the_certificate_is_swapped_while_requests_and_streams_are_open(
    serving: Running, folder: Path
) -> None:
    account = serving.account()
    account.http = httpx.Client(
        base_url=serving.url,
        headers={"X-API-Key": account.key},
        verify=trusting(folder / "certificate.pem"),
        timeout=PATIENCE_S,
    )
    first = shown(serving)
    device = account.device()
    with following(account.http, f"/devices/{device}/events") as stream:
        assert stream.next().name == "status"
        pair(folder)
        hang_up(serving)
        until("another certificate", lambda: shows_another_than(first, serving))
        # The stream ends, for the browser to open it anew.
        with pytest.raises(StopIteration):
            stream.next("never")
    until("word of it", lambda: '"certificate_replaced"' in serving.logged())
    renewed = trusting(folder / "certificate.pem")
    for _ in range(20):
        assert answered(lambda: httpx.get(f"{serving.url}/healthz", verify=renewed)).status_code == 200
    account.http.close()


def test_files_that_cannot_be_used_are_refused_and_the_old_ones_stay(serving: Running, folder: Path) -> None:
    first = shown(serving)
    (folder / "key.pem").write_bytes(pair(folder / "another")[1].read_bytes())
    hang_up(serving)
    until("refusal", lambda: '"config_refused"' in serving.logged())
    assert "tls.key" in serving.logged()
    assert "is not the key of the certificate" in serving.logged()
    assert shown(serving) == first


def _check(*settings: str) -> tuple[int, str]:
    asked = subprocess.run(
        [sys.executable, "-m", "appliance", "check-config", *(f"--set={each}" for each in settings)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return asked.returncode, asked.stderr


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("none.pem", "key.pem", "tls.certificate: {0}: No such file or directory."),
        ("certificate.pem", "none.pem", "tls.key: {1}: No such file or directory."),
        ("certificate.pem", "sealed.pem", "tls.key: {1}: tls.key_password does not open it."),
        ("certificate.pem", "certificate.pem", "tls.key: {1}: there is no private key in PEM in it."),
        ("key.pem", "key.pem", "tls.certificate: {0}: there is no certificate in PEM in it."),
    ],
)
def test_the_check_names_the_file_that_cannot_be_used(
    tmp_path: Path, certificate: str, key: str, said: str
) -> None:
    sealed = pair(tmp_path, password="the password")[1]
    sealed.rename(tmp_path / "sealed.pem")
    pair(tmp_path)
    paths = [str(tmp_path / name) for name in (certificate, key)]
    told = _check(f"tls.certificate='{paths[0]}'", f"tls.key='{paths[1]}'")
    assert told == (2, f"wa-gateway: {said.format(*paths)}\n")


def test_a_key_may_be_sealed_with_a_password_from_a_file(
    tmp_path: Path, start: Callable[..., Running]
) -> None:
    certificate, key = pair(tmp_path / "tls", password="the password")
    (tmp_path / "password").write_text("the password\n")
    named: dict[str, Any] = {"tls.certificate": str(certificate), "tls.key": str(key)}
    gateway = start(settings=named | {"tls.key_password_file": str(tmp_path / "password")})
    assert httpx.get(f"{gateway.url}/healthz", verify=trusting(certificate)).json()["status"] == "ok"


def test_a_certificate_that_ends_soon_is_told(tmp_path: Path, start: Callable[..., Running]) -> None:
    certificate, key = pair(tmp_path / "tls", days=90, age_days=86)
    gateway = start(settings={"tls.certificate": str(certificate), "tls.key": str(key)})
    told = httpx.get(f"{gateway.url}/healthz", verify=trusting(certificate)).json()
    assert told["status"] == "degraded"
    assert told["certificate"]["isWell"] is False
    assert told["certificate"]["expiresAt"] > time.time() * 1000
    figures = Scrape(httpx.get(f"{gateway.url}/metrics", verify=trusting(certificate)).text)
    ends_at = figures.value("wa_gateway_certificate_until_timestamp_seconds")
    assert ends_at == told["certificate"]["expiresAt"] / 1000
