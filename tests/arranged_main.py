"""The gateway with a clock and a name server that a test holds: `python arranged_main.py serve --set=…`.

CLOCK names a file of eight bytes: by how many milliseconds the wall clock is off (`Wall` writes it).
NAMES names a JSON file: for each host its answers in turn, the last for ever; no other name has an address.
"""

import mmap
import os
import socket
import struct
import sys
import time
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from appliance.config import Config, load
from appliance.gateway.clock import SystemClock
from appliance.house import House, build
from appliance.model.clock import Clock
from appliance.runtime import run
from appliance.store.database import Database
from appliance.store.opening import Opening

CLOCK, NAMES = "CLOCK", "NAMES"
PROGRAM = (sys.executable, str(Path(__file__).resolve()))
_OFFSET = struct.Struct("=q")


class Wall:
    """The test's hand on the clock of a gateway that runs this program."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.turn(0)

    def turn(self, offset_s: float) -> None:
        """From now on the wall clock is off by `offset_s`."""
        with self.path.open("r+b" if self.path.exists() else "w+b", buffering=0) as file:
            file.write(_OFFSET.pack(int(offset_s * 1000)))

    def start_at(self, epoch_s: float) -> None:
        """From now on the wall clock goes from `epoch_s` on."""
        self.turn(epoch_s - time.time())


class ArrangedClock:
    """The machine's clock, its wall time as far off as the file says at that moment."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._offset = mmap.mmap(file.fileno(), _OFFSET.size, prot=mmap.PROT_READ)

    def now_ms(self) -> int:
        offset_ms: int = _OFFSET.unpack_from(self._offset)[0]
        return time.time_ns() // 1_000_000 + offset_ms

    def monotonic(self) -> float:
        return time.monotonic()


class ArrangedNames:
    """A name server with prepared answers."""

    def __init__(self, path: Path) -> None:
        self._answers = msgspec.json.decode(path.read_bytes(), type=dict[str, list[list[str]]])

    async def __call__(self, host: str) -> list[str]:
        left = self._answers.get(host)
        if left is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return left.pop(0) if len(left) > 1 else left[0]


def arranged(config: Config, db: Database, opened: Opening) -> House:
    clock: Clock = ArrangedClock(Path(os.environ[CLOCK])) if CLOCK in os.environ else SystemClock()
    names = ArrangedNames(Path(os.environ[NAMES])) if NAMES in os.environ else None
    return build(config, db, opened, clock=clock, lookup=names)


if __name__ == "__main__":
    settings = [each.removeprefix("--set=") for each in sys.argv[1:] if each.startswith("--set=")]
    sys.exit(run(load(None, os.environ, settings), arranged))
