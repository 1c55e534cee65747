"""Pytest fixtures, by `pytest_plugins = ["loopback.fixtures"]`: a network for each module, and clients."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from loopback.client import Client
from loopback.patch import PATCH_REASON, can_patch
from loopback.server import LoopbackServer

Paired = Callable[[str], Client]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackServer]:
    if not can_patch():
        pytest.skip(PATCH_REASON)
    with LoopbackServer(tmp_path_factory.mktemp("network")) as server:
        yield server


@pytest.fixture
def paired(net: LoopbackServer, tmp_path: Path) -> Iterator[Paired]:
    """A function that links a new client to a number by QR and returns it connected."""
    numbers = itertools.count()
    with ExitStack() as clients:

        def pair(number: str) -> Client:
            database = tmp_path / f"{number}-{next(numbers)}.db"
            client = Client(database, net.client_env(), lambda code: net.scan(number, code))
            clients.enter_context(client).wait("Connected")
            return client

        yield pair
    net.faults.clear()
