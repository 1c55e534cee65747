"""The gateway on a disk that can be made bad while it runs: `python fault_main.py serve …`.

The file that the environment variable FAULTS names holds what is bad now, as JSON of `Badness`; without the
file the disk is good. It is replaced whole by whoever switches faults (`bad_disk.Switch`).
"""

import os
import sys
import time
from pathlib import Path
from typing import Literal

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from crash import vfs

from appliance.cli import main

CONTROL = "FAULTS"


class Badness(msgspec.Struct, frozen=True):
    """`write`: how writes fail once `room` more bytes are written; `sync`: syncs fail; `sync_s`: each takes
    that long."""

    write: Literal["full", "broken"] | None = None
    room: int = 0
    sync: bool = False
    sync_s: float = 0.0


_CODES = {"full": vfs.FULL, "broken": vfs.IOERR_WRITE}
_decoder = msgspec.json.Decoder(Badness)


class Faults:
    """A Witness that refuses what the control file says."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._known = Badness()
        self._written = 0

    def opened(self, path: str) -> None:
        pass

    def write(self, path: str, offset: int, data: bytes) -> int:
        bad = self._now()
        self._written += len(data)
        return _CODES[bad.write] if bad.write and self._written > bad.room else vfs.OK

    def truncate(self, path: str, size: int) -> int:
        bad = self._now()
        return vfs.IOERR_WRITE if bad.write == "broken" and self._written > bad.room else vfs.OK

    def sync(self, path: str) -> int:
        bad = self._now()
        time.sleep(bad.sync_s)
        return vfs.IOERR_FSYNC if bad.sync else vfs.OK

    def delete(self, path: str) -> int:
        return vfs.OK

    def sync_folder(self, path: str) -> None:
        pass

    def _now(self) -> Badness:
        try:
            bad = _decoder.decode(self._control.read_bytes())
        except FileNotFoundError:
            bad = Badness()
        if bad != self._known:
            self._known, self._written = bad, 0
        return bad


if __name__ == "__main__":
    with vfs.watched(Faults(Path(os.environ[CONTROL]))):
        sys.exit(main(sys.argv[1:]))
