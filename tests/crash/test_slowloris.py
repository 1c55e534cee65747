"""X8, short: connections that want nothing but to be held hold nobody up, and leave nothing behind."""

from pathlib import Path

import pytest
from bench.load import quantile
from crash.slowloris import run

CONNECTIONS, HELD_S = 240, 8.0


@pytest.mark.timeout(120)
def test_health_is_told_while_connections_are_held(tmp_path: Path) -> None:
    figures = run(tmp_path, CONNECTIONS, HELD_S)
    print("\n".join(figures.lines()))
    assert figures.opened == CONNECTIONS
    assert figures.descriptors_most >= figures.descriptors_before + CONNECTIONS / 2
    assert figures.unwell == []
    assert quantile(figures.health_ms, 0.5) < 100
    assert figures.descriptors_after <= figures.descriptors_before
