"""R10, short: a damaged database is set aside, something good takes its place, and the gateway says so."""

from pathlib import Path

import pytest
from crash.corruption import run

CASES = 12


@pytest.mark.timeout(600)
def test_a_gateway_starts_on_a_damaged_database_and_keeps_its_promises(tmp_path: Path) -> None:
    report = run(tmp_path, CASES, seed=5)
    print("\n".join(report.lines()))
    assert report.faults == []
    assert sum(report.roads.values()) == CASES
    assert report.roads["restored"] > 0
    assert report.roads["salvaged"] > 0
