"""R3: the power fails at any point of mixed traffic, and what was told outside must still be there.

python tests/crash/power_cut.py [cuts, default 10000] [seed] [full | normal | lying]
"""

import asyncio
import collections
import itertools
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from crash import aftermath, vfs
from crash.house_traffic import Ledger, Traffic
from crash.tape import Disk, Tape

from appliance import data_dir
from appliance.model.errors import GatewayError

ROUNDS = 120
CUTS_PER_TAPE = 500
MEMORY = Path("/dev/shm")
UNSYNCED = ("synchronous = NORMAL", "wal_autocheckpoint = 1000")
"""Pragmas without which nothing told would be safe: the log is synced only before it is copied back."""
UNUSABLE = (aftermath.Damaged, sqlite3.Error, GatewayError, msgspec.DecodeError)
"""What a database may answer that does not hold what was written."""


class Recording(msgspec.Struct):
    """What one run of traffic wrote, and what it told."""

    tape: Tape
    ledger: Ledger


class Outcome(msgspec.Struct):
    """How many cuts were made, how many of them broke a promise, and how often each kind was broken."""

    cuts: int = 0
    broken: int = 0
    faults: collections.Counter[str] = msgspec.field(default_factory=collections.Counter)
    examples: list[str] = []
    seconds: float = 0.0

    def lines(self) -> list[str]:
        return [
            f"{self.cuts} power cuts in {self.seconds:.1f} s, {self.broken} broke a promise",
            *(f"FAULT {kind}: {count}" for kind, count in self.faults.most_common()),
            *self.examples,
        ]


def record(seed: int, rounds: int = ROUNDS, pragmas: Sequence[str] = ()) -> Recording:
    """Run the traffic once and keep its tape."""
    folder = Path(tempfile.mkdtemp(dir=_fast()))
    tape = Tape()
    traffic = Traffic(folder, lambda: tape.position, random.Random(seed))
    try:
        with vfs.watched(tape):
            asyncio.run(traffic.run(rounds, list(pragmas)))
    finally:
        shutil.rmtree(folder)
    return Recording(tape, traffic.ledger)


def cut(recording: Recording, cuts: int, seed: int, outcome: Outcome, *, heeds_syncs: bool = True) -> None:
    """Cut the power at that many points of the tape, each time with another remainder: at any point, and as
    often right after something was told."""
    chance = random.Random(seed)
    ledger, end = recording.ledger, recording.tape.position
    disk = Disk(recording.tape.steps, heeds_syncs=heeds_syncs)
    disk.play(ledger.begins)
    disk.settle()
    with tempfile.TemporaryDirectory(dir=_fast()) as folder:
        for position in sorted(points(ledger, end, cuts, chance)):
            disk.play(position)
            _restore(Path(folder), disk, chance)
            count(outcome, position, _faults(Path(folder), ledger, position))


def points(ledger: Ledger, end: int, count: int, chance: random.Random) -> Iterator[int]:
    """That many points to cut at, up to `end`. Every second one is where something had just been told, each
    kind of it in its turn: a missing sync shows nowhere sooner."""
    kinds: list[list[int]] = [
        [entry.position for entry in ledger.sends],
        [entry.position for entry in ledger.taken],
        [entry.position for entry in ledger.stored],
        [entry.position for entry in ledger.posted],
    ]
    told = itertools.cycle([positions for positions in kinds if positions])
    for number in range(count):
        if number % 2:
            yield chance.choice(next(told))
        else:
            yield chance.randint(ledger.begins, end)


def run(cuts: int, seed: int, *, pragmas: Sequence[str] = (), heeds_syncs: bool = True) -> Outcome:
    """A recording for every few hundred cuts, until there were `cuts`."""
    outcome, began = Outcome(), time.monotonic()
    while outcome.cuts < cuts:
        recording = record(seed + outcome.cuts, pragmas=pragmas)
        wanted = min(CUTS_PER_TAPE, cuts - outcome.cuts)
        cut(recording, wanted, seed + outcome.cuts, outcome, heeds_syncs=heeds_syncs)
    outcome.seconds = time.monotonic() - began
    return outcome


def _restore(folder: Path, disk: Disk, chance: random.Random) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    for name, content in disk.after_power_cut(chance):
        (folder / name).write_bytes(content)


def _faults(folder: Path, ledger: Ledger, position: int) -> list[str]:
    path = data_dir.database_path(folder)
    try:
        asyncio.run(aftermath.boot(path, ledger))
        return aftermath.faults(path, ledger, position)
    except UNUSABLE as error:
        return [f"cannot be used: {type(error).__name__} {error}"]


def count(outcome: Outcome, position: int, faults: list[str]) -> None:
    """Add one cut to the outcome."""
    outcome.cuts += 1
    if faults:
        outcome.broken += 1
        outcome.faults.update(fault.partition(":")[0] for fault in faults)
        if len(outcome.examples) < 5:
            outcome.examples.append(f"at {position}: {'; '.join(faults)[:300]}")


def _fast() -> str | None:
    """A folder in memory, if there is one."""
    return str(MEMORY) if MEMORY.is_dir() else None


MODES: dict[str, tuple[Sequence[str], bool]] = {
    "full": ((), True),
    "normal": (UNSYNCED, True),
    "lying": ((), False),
}

if __name__ == "__main__":
    how_many = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    first_seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    pragmas_of, heeds = MODES[sys.argv[3] if len(sys.argv) > 3 else "full"]
    result = run(how_many, first_seed, pragmas=pragmas_of, heeds_syncs=heeds)
    print("\n".join(result.lines()))
    sys.exit(1 if result.broken else 0)
