"""A client that a public generator makes from the description talks to a real gateway."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from description import DOCS, operations
from patience import PATIENCE_S
from running import Account

PACKAGE = "generated_gateway_client"
GENERATE = (sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none")
BYTES = {"GET /media/{id}", "GET /messages/{id}/media"}
"""Answers of any type, which the generator leaves to the caller, and says so."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What the generator said; the package it made can be imported meanwhile."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "config.yaml").write_text("post_hooks: []\n")
    paths = ["--path", str(DOCS / "openapi.json"), "--output-path", str(folder / PACKAGE)]
    ran = subprocess.run(
        [*GENERATE, *paths, "--config", str(folder / "config.yaml")],
        capture_output=True,
        text=True,
        env={"NO_COLOR": "1", "COLUMNS": "200", "PYTHONUTF8": "1"},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    sys.path.insert(0, str(folder))
    yield ran.stdout + ran.stderr
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


class Generated:
    """The generated package with an account's key: `ask("messages", "send_text", …)` calls an operation."""

    def __init__(self, account: Account) -> None:
        client = _module("client").AuthenticatedClient
        self._client = client(
            base_url=f"{account.url}/api",
            token=account.key,
            prefix="",
            auth_header_name="X-API-Key",
            raise_on_unexpected_status=True,
            timeout=PATIENCE_S,
        )

    def ask(self, tag: str, operation: str, *path: Any, **more: Any) -> Any:
        """The operation's answer, as an object of the generated package."""
        return _module(f"api.{tag}.{operation}").sync(*path, client=self._client, **more)

    def close(self) -> None:
        self._client.get_httpx_client().close()


def _module(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


@pytest.fixture
def generated(told: str, account: Account) -> Iterator[Generated]:
    client = Generated(account)
    yield client
    client.close()


def test_the_generator_understands_everything_but_bytes_of_any_type(told: str) -> None:
    warned = {line.removeprefix("WARNING parsing ") for line in told.splitlines() if line.startswith("WARN")}
    assert {line.partition(" within")[0] for line in warned} == BYTES
    assert "Error" not in told


def test_every_operation_has_its_function(told: str) -> None:
    package = Path(_module("client").__file__).parent
    made = {file.stem.replace("_", "") for file in (package / "api").glob("*/*.py")} - {"init"}
    assert made == {each.id.lower() for each in operations()}


def test_it_links_a_device_sends_and_lists(generated: Generated) -> None:
    models = _module("models")
    assert generated.ask("account", "get_me").email.endswith("@example.test")
    device = generated.ask("devices", "create_device", body=models.CreateDevice(name="Try", sandbox=True))
    generated.ask("devices", "connect_device", device.id)
    linked = generated.ask(
        "sandbox", "sandbox_scan", device.id, body=models.SandboxScan(phone="999000000001")
    )
    assert (linked.status, linked.phone) == (models.DeviceStatus.CONNECTED, "999000000001")
    message = models.SendText(to="628111222333", text="Halo!", device_id=device.id)
    sent = generated.ask("messages", "send_text", body=message, idempotency_key="order-1042")
    again = generated.ask("messages", "send_text", body=message, idempotency_key="order-1042")
    assert isinstance(sent, models.Message)
    assert sent.id == again.id
    [listed] = generated.ask("messages", "list_messages", device_id=device.id).items
    assert (listed.id, listed.text, listed.content.to_dict()) == (sent.id, "Halo!", {"conversation": "Halo!"})


def test_it_tells_of_refusals(generated: Generated, account: Account) -> None:
    models = _module("models")
    message = models.SendText(to="999000000022", text="Halo!", device_id=account.device())
    problem = generated.ask("messages", "send_text", body=message)
    assert isinstance(problem, models.Problem)
    assert (problem.status, problem.code) == (422, models.ErrorCode.NOT_ON_WHATSAPP)
