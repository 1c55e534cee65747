"""The machine's own clock, and how far it can be believed."""

import time

from appliance.model.clock import Clock

JUMP_MS = 60_000
"""The wall clock and the monotonic one drift apart by far less between two looks."""


class SystemClock:
    """Wall time and monotonic time of this machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class JumpWatch:
    """Notices when the wall clock was set while the process ran, by comparing it with the monotonic one.

    Time that the machine slept through looks like a jump ahead: the monotonic clock stands still meanwhile.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ms = self._offset()

    def look(self) -> int:
        """How far (ms) the wall clock was set ahead since the last look, negative for back; 0 when it was
        not."""
        offset_ms = self._offset()
        jump_ms = round(offset_ms - self._offset_ms)
        self._offset_ms = offset_ms
        return jump_ms if abs(jump_ms) > JUMP_MS else 0

    def _offset(self) -> float:
        return self._clock.now_ms() - self._clock.monotonic() * 1000
