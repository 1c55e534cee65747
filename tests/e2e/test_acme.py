"""A certificate that the gateway orders by itself, from a real ACME server."""

import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from acme_server import AcmeServer, acme_server
from running import Running, answered, free_port, until

DOMAIN = "wa.example.org"


@pytest.fixture(scope="module")
def giver(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with acme_server(tmp_path_factory.mktemp("acme")) as server:
        yield server


def settings(giver: AcmeServer, **more: Any) -> dict[str, Any]:
    return {
        "tls.acme_domains": [DOMAIN],
        "tls.acme_directory": giver.directory,
        "tls.acme_agree": True,
        "tls.acme_email": "me@example.org",
        "tls.acme_port": giver.http_port,
        "tls.acme_ca": str(giver.ca),
    } | {f"tls.{name}": value for name, value in more.items()}


def health(gateway: Running) -> Any:
    return answered(lambda: httpx.get(f"{gateway.url}/healthz", verify=False)).json()


def served_as(gateway: Running) -> str:
    return str(health(gateway)["certificate"]["source"])


def test_a_certificate_is_ordered_served_and_kept(giver: AcmeServer, start: Callable[..., Running]) -> None:
    gateway = start(settings=settings(giver))
    until("ordered certificate", lambda: served_as(gateway) == "ordered")
    assert health(gateway)["status"] == "ok"
    trust = ssl.create_default_context(cadata=giver.root())
    with httpx.Client(verify=trust) as browser:
        url, host, named = f"{gateway.url}/healthz", {"Host": DOMAIN}, {"sni_hostname": DOMAIN}
        answer = answered(lambda: browser.get(url, headers=host, extensions=named))
    assert answer.status_code == 200

    kept = {file.name: file for file in (gateway.data / "tls").iterdir()}
    assert sorted(kept) == ["account-key.pem", "certificate.pem", "last-order.json", "stand-in.pem"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in kept.values()} == {0o600}
    assert stat.S_IMODE((gateway.data / "tls").stat().st_mode) == 0o700

    account = kept["account-key.pem"].read_bytes()
    gateway.stop()
    gateway.settings |= {"tls.acme_domains": [DOMAIN, f"www.{DOMAIN}"]}
    gateway.start()
    until("second order", lambda: gateway.logged().count('"certificate_replaced"') == 2)
    assert kept["account-key.pem"].read_bytes() == account


def test_an_order_that_fails_is_told_and_not_repeated_at_once(
    giver: AcmeServer, start: Callable[..., Running], tmp_path: Path
) -> None:
    # Nobody answers where the giver asks.
    gateway = start(settings=settings(giver, acme_port=free_port()))
    until("failed order", lambda: "certificate_order_failed" in gateway.logged())
    line = next(line for line in gateway.logged().splitlines() if "certificate_order_failed" in line)
    assert DOMAIN in line
    told = health(gateway)
    assert told["status"] == "degraded"
    assert told["certificate"]["source"] == "stand_in"
    assert not told["certificate"]["isWell"]
    gateway.stop()
    noted = (gateway.data / "tls/last-order.json").read_bytes()
    gateway.start()
    # Whoever orders notes it first, and looks whether to order before anybody is told that it is ready.
    assert (gateway.data / "tls/last-order.json").read_bytes() == noted
