"""`appliance serve`, watched by a profiler that kills the process at one step of one coroutine.

Nothing of the product knows of it. Python tells a profiler when a coroutine gives up control and when it goes
on, and when SQLite is called and answers. `FAILPOINT_SEEN` names the file into which every moment is written
the first time; as soon as the file that `FAILPOINT_ORDER` names exists, they are written anew, and when the
moment that stands in it (after the number of times it may pass) comes, that is the end.

A moment: `<await> entered | suspended | resumed`, or `<function> before COMMIT | after COMMIT` for each
function that had written in that transaction.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from crash.failpoint_sites import Steps, steps_of  # noqa: E402 (found by the path above)

from appliance import runtime  # noqa: E402, F401 (imported before anything is watched: that takes long)
from appliance.cli import main  # noqa: E402

_SEND_TO_YIELD = 2
_YIELD_TO_RESUME = 2


class Watcher:
    """Sees every call, return, suspension and resumption of every thread."""

    def __init__(self, order: Path, seen: Path) -> None:
        self._order = order
        self._log = os.open(seen, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._logged: set[str] = set()
        self._armed = False
        self._target = ""
        self._passes = 0
        self._writers: list[str] = []
        # By the code's address, for to hash it takes long; an address that is kept is nobody else's.
        self._known: dict[int, tuple[CodeType, Steps | None]] = {}

    def see(self, frame: FrameType, event: str, arg: Any) -> None:
        steps = self._steps(frame.f_code)
        if event == "call":
            self._called(frame, steps)
        elif steps is None:
            return
        elif event == "return":
            if frame.f_lasti in steps.awaits:
                self._came(f"{steps.awaits[frame.f_lasti]} suspended")
        elif steps.writes and getattr(arg, "__name__", "") == "execute":
            self._wrote(steps.writes.get(frame.f_lineno), event == "c_return")

    def _steps(self, code: CodeType) -> Steps | None:
        known = self._known.get(id(code))
        if known is None:
            known = self._known[id(code)] = (code, steps_of(code))
        return known[1]

    def _called(self, frame: FrameType, steps: Steps | None) -> None:
        if steps is not None and (gone_on := steps.awaits.get(frame.f_lasti - _YIELD_TO_RESUME)):
            self._came(f"{gone_on} resumed")
        if (caller := frame.f_back) is None or (outer := self._steps(caller.f_code)) is None:
            return
        if waits := outer.awaits.get(caller.f_lasti + _SEND_TO_YIELD):
            self._came(f"{waits} entered")
        if steps is not None and outer.room == "store" and steps.room != "store":
            self._writers.append(steps.label)

    def _wrote(self, statement: str | None, answered: bool) -> None:
        if statement == "BEGIN" and answered:
            self._writers = []
        if statement == "COMMIT":
            for label in dict.fromkeys(self._writers):
                self._came(f"{label} {'after' if answered else 'before'} COMMIT")

    def _came(self, moment: str) -> None:
        if not self._armed and self._order.exists():
            self._armed = True
            passes, _, self._target = self._order.read_text().partition(" ")
            self._passes = int(passes)
            self._logged.clear()
        if moment not in self._logged:
            self._logged.add(moment)
            os.write(self._log, moment.encode() + b"\n")
        if moment == self._target:
            self._passes -= 1
            if self._passes < 0:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    watcher = Watcher(Path(os.environ["FAILPOINT_ORDER"]), Path(os.environ["FAILPOINT_SEEN"]))
    threading.setprofile(watcher.see)
    sys.setprofile(watcher.see)
    sys.exit(main(sys.argv[1:]))
