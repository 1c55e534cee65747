"""R11, short: mixed traffic leaves no descriptor open and keeps the WAL small."""

from pathlib import Path

import pytest
from crash.soak import WAL_LIMIT_MIB, run, slope

SECONDS = 10.0


@pytest.mark.timeout(600)
def test_mixed_traffic_leaves_nothing_open(tmp_path: Path) -> None:
    soak = run(tmp_path, SECONDS, every_s=1.0)
    print("\n".join(soak.lines()))
    assert soak.faults == []
    assert soak.answers[201] > 20
    assert soak.descriptors_after <= soak.descriptors_before
    assert soak.wal_most_mib < WAL_LIMIT_MIB


def test_a_slope_is_what_grows_an_hour() -> None:
    assert slope([0.0, 1.0, 2.0], [5.0, 8.0, 11.0]) == pytest.approx(3.0)
