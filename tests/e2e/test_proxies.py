"""The shipped settings of nginx and Caddy, with the real servers before a gateway: forms, streams, files."""

import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pairs import HERE, pair
from patience import PATIENCE_S
from running import Account, Running, free_port, until
from sse import following

from appliance.server import HEADER_TIMEOUT_MS

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
NAME = "wa.example.org"
LARGE = 90 * 2**20
SOON_S = 2.0
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


def nginx(folder: Path, port: int, gateway_port: int) -> list[str]:
    """What starts nginx on `port` before the gateway."""
    shipped = (PACKAGING / "nginx.conf").read_text()
    for old, new in {
        "listen 443 ssl;": f"listen {HERE}:{port} ssl;",
        "    listen [::]:443 ssl;\n": "",
        f"server_name {NAME};": f"server_name {HERE};",
        "/etc/ssl/wa.example.org/fullchain.pem": str(folder / "certificate.pem"),
        "/etc/ssl/wa.example.org/privkey.pem": str(folder / "key.pem"),
        "127.0.0.1:8080": f"{HERE}:{gateway_port}",
    }.items():
        assert shipped.count(old) == 1, old
        shipped = shipped.replace(old, new)
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = f"daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
    (folder / "whole.conf").write_text(f"{main}http {{\naccess_log off;\n{places}{shipped}\n}}\n")
    return ["nginx", "-p", str(folder), "-c", str(folder / "whole.conf"), "-e", "stderr"]


def caddy(folder: Path, port: int, gateway_port: int) -> list[str]:
    """What starts Caddy on `port` before the gateway, with a certificate that is there already."""
    shipped = (PACKAGING / "Caddyfile").read_text()
    for old, new in {
        f"\n{NAME} {{": f"\nhttps://{HERE}:{port} {{\n\ttls {folder}/certificate.pem {folder}/key.pem",
        "127.0.0.1:8080": f"{HERE}:{gateway_port}",
    }.items():
        assert shipped.count(old) == 1, old
        shipped = shipped.replace(old, new)
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{shipped}")
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxied(
    request: pytest.FixtureRequest, start: Callable[..., Running], tmp_path: Path
) -> Iterator[tuple[Running, httpx.Client]]:
    """A gateway behind the proxy, and a browser that comes through it."""
    make: Callable[[Path, int, int], list[str]] = request.param
    path = f"{os.environ['PATH']}:/usr/sbin"
    if shutil.which(make.__name__, path=path) is None:
        pytest.skip(f"{make.__name__} is not installed")
    folder, port = tmp_path / "proxy", free_port()
    certificate, _ = pair(folder)
    url = f"https://{HERE}:{port}"
    gateway = start(settings={"server.public_url": url})
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            make(folder, port, gateway.port),
            env={"PATH": path, "HOME": str(folder), "XDG_DATA_HOME": str(folder)},
            stdout=log,
            stderr=log,
        )
    trust = ssl.create_default_context(cadata=certificate.read_text())
    with httpx.Client(base_url=url, verify=trust, timeout=PATIENCE_S) as browser:

        def answers() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                return browser.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        try:
            until("proxy", answers)
            yield gateway, browser
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_idle_connections_end_at_the_proxy_first(name: str) -> None:
    shipped = re.search(r"keepalive(?:_timeout)? (\d+)s", (PACKAGING / name).read_text())
    assert shipped is not None
    assert int(shipped[1]) * 1000 < HEADER_TIMEOUT_MS


def test_forms_streams_and_large_files(proxied: tuple[Running, httpx.Client]) -> None:
    gateway, browser = proxied
    account = gateway.account("ada@example.test", admin=True)
    signing_in(browser)
    browser.headers["X-API-Key"] = account.key
    device = account.device()
    streams(browser, account, device)
    large_file(browser, device)


def signing_in(browser: httpx.Client) -> None:
    """The form is taken from the public origin and from no other, and the cookie is the safe one."""
    page = browser.get("/login")
    assert "came over plain http" not in page.text
    found = _CSRF.search(page.text)
    assert found is not None
    fields = {"csrf": found[1], "email": "ada@example.test", "password": "a long password"}
    for _ in range(10):  # a refusal that closed the connection unsaid would make the next request a 502
        foreign = browser.post("/login", data=fields, headers={"Origin": "https://elsewhere.example"})
        assert foreign.status_code == 403
    welcome = browser.post("/login", data=fields, headers={"Origin": str(browser.base_url).rstrip("/")})
    assert welcome.status_code == 303, welcome.text
    assert any(c.startswith("__Host-") and "Secure" in c for c in welcome.headers.get_list("set-cookie"))
    assert browser.get("/dashboard").status_code == 200


def streams(browser: httpx.Client, account: Account, device: str) -> None:
    with following(browser, "/api/events") as reader:
        account.send(device, "628123456789", "through the proxy")
        sent_at = time.monotonic()
        reader.next("message.status")
        assert time.monotonic() - sent_at < SOON_S, "the event was held back"


def large_file(browser: httpx.Client, device: str) -> None:
    fields = {"deviceId": device, "to": "628123456789", "kind": "document", "filename": "large.bin"}
    file = {"file": ("large.bin", bytes(LARGE), "application/octet-stream")}
    answer = browser.post("/api/messages/send-media", data=fields, files=file)
    assert answer.status_code in {201, 202}, answer.text
