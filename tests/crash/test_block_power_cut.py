"""R3 below the file system, short: ext4, the gateway and what it told after a power cut at any moment."""

from pathlib import Path

import pytest
from crash import block_power_cut
from crash.power_cut import Outcome

POINTS, LYING_POINTS, TRAFFIC_S = 10, 4, 3.0

pytestmark = pytest.mark.skipif(bool(reason := block_power_cut.why_not()), reason=str(reason))


@pytest.mark.timeout(600)
def test_a_disk_whose_power_fails_keeps_what_was_told_and_one_that_lies_does_not(tmp_path: Path) -> None:
    recording = block_power_cut.record(tmp_path, TRAFFIC_S)
    assert len(recording.ledger.sends) > 10
    honest, lying = Outcome(), Outcome()
    block_power_cut.cut(recording, POINTS, 1, tmp_path, honest)
    block_power_cut.cut(recording, LYING_POINTS, 1, tmp_path, lying, heeds_flushes=False)
    print("\n".join([*honest.lines(), *lying.lines()]))
    assert honest.broken == 0, honest.lines()
    assert lying.broken > 0
