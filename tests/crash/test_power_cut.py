"""R3, short: nothing that was told is taken back by a power cut; the rig notices when a sync is missing."""

import collections
import random

import pytest
from crash import power_cut, vfs
from crash.tape import Disk, Step

CUTS = 150
# The house is built in this process, and litestar warns of what a later version will not have.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")


@pytest.fixture(autouse=True, scope="module")
def _watchable() -> None:
    try:
        vfs.linked_library()
    except LookupError as reason:
        pytest.skip(str(reason))


def test_a_power_cut_takes_back_nothing_that_was_told() -> None:
    outcome = power_cut.run(CUTS, seed=1)
    print("\n".join(outcome.lines()))
    assert outcome.cuts == CUTS
    assert outcome.broken == 0, outcome.lines()


def test_without_a_sync_at_each_commit_told_rows_are_lost() -> None:
    """One recording may hold no moment at which much is told and little synced: a few do."""
    faults: collections.Counter[str] = collections.Counter()
    for seed in range(8):
        outcome = power_cut.run(50, seed, pragmas=power_cut.UNSYNCED)
        print("\n".join(outcome.lines()))
        faults += outcome.faults
        if faults["accepted message lost"] and faults["acknowledged event lost"]:
            break
    assert faults["accepted message lost"] > 0
    assert faults["acknowledged event lost"] > 0
    assert faults["integrity"] == 0


def test_on_a_disk_that_only_says_it_has_synced_the_database_is_lost() -> None:
    outcome = power_cut.run(15, seed=1, heeds_syncs=False)
    print("\n".join(outcome.lines()))
    assert outcome.broken > 5
    assert outcome.faults["integrity"] + outcome.faults["cannot be used"] > 0


def test_what_is_not_synced_may_be_torn_and_what_is_synced_is_not() -> None:
    steps = [
        Step("open", "a"),
        Step("folder", "a"),
        Step("write", "a", 0, b"x" * 1024),
        Step("sync", "a"),
        Step("write", "a", 0, b"y" * 1024),
    ]
    disk = Disk(steps)
    disk.play(len(steps))
    chance = random.Random(1)
    seen = {dict(disk.after_power_cut(chance))["a"] for _ in range(50)}
    old, new = b"x" * 512, b"y" * 512
    assert seen == {old + old, old + new, new + old, new + new}
