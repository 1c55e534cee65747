"""What every test may use: a running gateway, an account on it, and one of its own to restart."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from running import Account, Running, running

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One gateway for all tests that need no special settings; each makes its own account on it."""
    data = tmp_path_factory.mktemp("shared") / "data"
    with running(
        data, settings={"limits.messages_per_minute": 30, "webhooks.allow": ["loopback"]}
    ) as gateway:
        yield gateway


@pytest.fixture
def account(shared: Running) -> Account:
    """A fresh account on the shared gateway."""
    return shared.account()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts gateways of the test's own: `start(settings={…})`; whatever still runs is ended."""
    started: list[Running] = []

    def begin(**options: Any) -> Running:
        gateway = Running(tmp_path / f"data{len(started)}", **options)
        started.append(gateway)
        return gateway.start()

    yield begin
    for gateway in started:
        gateway.close()
        if gateway.process.poll() is None:
            gateway.stop()
