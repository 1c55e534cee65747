"""Receivers as integrators run them: the document's own Node code, Express with its default limits, and the
Standard Webhooks library, against real deliveries."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import node_packages
import pytest
from delivery_rig import eventually
from node_packages import NODE, NPM
from patience import PATIENCE_S
from running import Account, Running

from appliance.gateway import signing

pytestmark = pytest.mark.skipif(NODE is None or NPM is None, reason="node and npm are not installed")

HARD = (
    'Halo! é 漢字 مرحبا 👍🏽 \u2028\u2029 \x7f \x00\x1f\b\f\n\r\t "quoted" back\\slash / </script> \ufeff',
    "x" * 65_536,
    "👍" * 60_000,
)
RAW = {
    "extendedTextMessage": {
        "text": "numbers and keys in JavaScript's order",
        "10": 1,
        "2": [1.0, -0.0, 1e21, 1.5e-7, 123456789012345680000, 9007199254740993, 0.1],
        "__proto__": "kept",
        "é": None,
    }
}


class NodeReceivers:
    """The process of receivers.mjs; `outcomes` are its lines so far."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{port}"
        self.outcomes: list[dict[str, Any]] = []

    async def listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.outcomes.append(json.loads(line))

    def of(self, route: str) -> list[dict[str, Any]]:
        return [outcome for outcome in self.outcomes if outcome.get("route") == route]


@pytest.fixture(scope="module")
def packages() -> None:
    """The receivers' packages, installed from the lock file when they are missing or others."""
    node_packages.install()


@pytest.fixture
def secret() -> str:
    return signing.new_secret()


@pytest.fixture
async def receivers(packages: None, secret: str) -> AsyncIterator[NodeReceivers]:
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE,
        "receivers.mjs",
        cwd=node_packages.FOLDER,
        env={**os.environ, "WEBHOOK_SECRET": secret, "NODE_ENV": "production"},
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    assert process.stdout is not None
    first = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE_S))
    running = NodeReceivers(process, first["port"])
    listening = asyncio.create_task(running.listen())
    yield running
    process.kill()
    await process.wait()
    await listening


async def test_every_body_verifies_in_the_documents_receiver_and_in_standard_webhooks(
    account: Account, receivers: NodeReceivers, secret: str
) -> None:
    device_id = account.device()
    hooks = [
        account.ok("POST", "/webhooks", {"url": receivers.url + path, "secret": secret})
        for path in ("/wa/webhook", "/standard")
    ]
    bodies: list[dict[str, Any]] = [
        *({"text": text} for text in HARD),
        *({"kind": kind} for kind in ("image", "video", "audio", "voice", "document", "sticker")),
        {"kind": "location", "latitude": -6.2, "longitude": 106.816666},
        {"kind": "raw", "content": RAW},
        {"text": "in a group", "group": "120363000000000001@g.us", "pushName": "Budi \u2028"},
    ]
    told = [account.ok("POST", f"/devices/{device_id}/sandbox/receive", body)["eventId"] for body in bodies]

    def all_told(route: str) -> Callable[[], bool]:
        return lambda: set(told) <= {outcome.get("eventId") for outcome in receivers.of(route)}

    await eventually(all_told("seed"))
    await eventually(all_told("standard"))
    assert [outcome for outcome in receivers.outcomes if not outcome["verified"]] == []
    assert max(outcome["bytes"] for outcome in receivers.of("standard")) <= 100_000
    assert {outcome["eventId"] for outcome in receivers.of("seed") if outcome["truncated"]} == set(told[1:3])
    for hook in hooks:
        failed = f"/webhooks/{hook['id']}/deliveries?status=pending"
        await eventually(lambda path=failed: account.ok("GET", path)["items"] == [])  # type: ignore[misc]
        assert account.ok("GET", f"/webhooks/{hook['id']}")["status"] == "ok"


async def test_another_secret_is_refused_by_both(
    account: Account, receivers: NodeReceivers, shared: Running
) -> None:
    for path in ("/wa/webhook", "/standard"):
        hook = account.ok("POST", "/webhooks", {"url": receivers.url + path})
        account.ok("POST", f"/webhooks/{hook['id']}/test")
    await eventually(lambda: len(receivers.outcomes) == 2)
    assert [outcome["verified"] for outcome in receivers.outcomes] == [False, False]
