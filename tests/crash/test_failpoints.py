"""R4, short: every step is known and taken, and at a few of them the process dies."""

import random
from pathlib import Path

import pytest
from crash.failpoint_sites import meaningless
from crash.failpoints import Outcome, run
from loopback.patch import PATCH_REASON, can_patch

SAMPLE = 4


def test_every_exception_means_something() -> None:
    assert meaningless() == []


@pytest.mark.skipif(not can_patch(), reason=PATCH_REASON)
@pytest.mark.timeout(600)
def test_every_step_is_taken_and_some_are_died_at(tmp_path: Path) -> None:
    outcome, chance = Outcome(), random.Random(7)
    run(tmp_path / "stage", outcome, chance, (), SAMPLE)
    print("\n".join([*outcome.lines(), *outcome.died]))
    assert outcome.never_passed() == []
    assert outcome.missed == []
    assert outcome.faults == []
