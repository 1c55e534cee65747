"""X8, short: connections that want nothing but to be held hold nobody up, and leave nothing behind."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.load import quantile
from crash.slowloris import run
from processes import descriptors
from running import PROGRAM, Running, until

CONNECTIONS, HELD_S = 240, 8.0
DESCRIPTORS = 256


@pytest.mark.timeout(600)
def test_health_is_told_while_connections_are_held(tmp_path: Path) -> None:
    figures = run(tmp_path, CONNECTIONS, HELD_S)
    print("\n".join(figures.lines()))
    assert figures.opened == CONNECTIONS
    assert figures.descriptors_most >= figures.descriptors_before + CONNECTIONS / 2
    assert figures.unwell == []
    assert quantile(figures.health_ms, 0.5) < 100
    assert figures.descriptors_after <= figures.descriptors_before


def test_connections_never_take_the_last_descriptors(start: Callable[..., Running]) -> None:
    """More of them than there are descriptors: some wait outside, and files can be opened all the same."""
    limited = ("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}", *PROGRAM)
    gateway = start(program=limited)
    account = gateway.account()
    account.ok("GET", "/devices")
    held = [socket.create_connection(("127.0.0.1", gateway.port), 10) for _ in range(DESCRIPTORS + 50)]
    try:
        until("taken connections", lambda: descriptors(gateway.process.pid) > DESCRIPTORS // 2)
        device = account.device()
        assert account.send(device, "628111222333")["status"] == "sent"
        assert descriptors(gateway.process.pid) < DESCRIPTORS * 3 // 4
    finally:
        for connection in held:
            connection.close()
    until("closed connections", lambda: descriptors(gateway.process.pid) < DESCRIPTORS // 3)
    account.ok("GET", "/devices")
