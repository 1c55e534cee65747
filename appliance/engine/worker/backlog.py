"""The events that main has not acknowledged yet: sent once, kept until their COMMIT, spooled at the end."""

import contextlib
import socket
import threading
from collections import OrderedDict

from appliance.engine import wire
from appliance.engine.base import EngineEvent

MOST_EVENTS = 1000
MOST_BYTES = 8 << 20


class Outlet:
    """The socket to main, for many threads. After the first failure it swallows what is written."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._broken = False

    def write(self, message: wire.Up) -> None:
        """Send a message; blocks while main does not read."""
        self.write_frame(wire.frame(message))

    def write_frame(self, frame: bytes) -> None:
        with self._lock:
            if self._broken:
                return
            try:
                self._sock.sendall(frame)
            except OSError:
                self._broken = True

    def shut(self) -> None:
        """Wake a writer that is blocked, and write nothing any more."""
        self._broken = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


class Backlog:
    """Numbers the events of one incarnation and holds the unacknowledged ones (≤ 1,000 and 8 MiB)."""

    def __init__(self, outlet: Outlet, incarnation: int) -> None:
        self._outlet = outlet
        self._incarnation = incarnation
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0
        self._seq = 0
        self._closing = False
        self._change = threading.Condition()
        self._order = threading.Lock()

    def tell(self, event: EngineEvent, followed_by: bytes = b"") -> None:
        """Send an event, and a frame that is to arrive with it; blocks while too much is unacknowledged.
        Raises what msgspec raises for an event that cannot be encoded (it then takes no number)."""
        with self._order:
            frame = wire.frame(wire.Told(self._incarnation, self._seq + 1, event))
            with self._change:
                self._change.wait_for(self._has_room)
                self._seq += 1
                self._held[self._seq] = frame
                self._bytes += len(frame)
            self._outlet.write_frame(frame + followed_by)

    def acknowledge(self, seq: int) -> None:
        """Main has committed that event."""
        with self._change:
            frame = self._held.pop(seq, None)
            if frame is not None:
                self._bytes -= len(frame)
            self._change.notify_all()

    def close(self) -> None:
        """Main is gone: nobody will acknowledge, and nobody waits any more."""
        with self._change:
            self._closing = True
            self._change.notify_all()

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until everything is acknowledged (or main is gone)."""
        with self._change:
            return self._change.wait_for(lambda: not self._held or self._closing, timeout_s)

    def rest(self) -> list[bytes]:
        """The encoded Told messages that nobody acknowledged, oldest first."""
        with self._change:
            return [frame[wire.HEAD.size :] for frame in self._held.values()]

    def _has_room(self) -> bool:
        return self._closing or (len(self._held) < MOST_EVENTS and self._bytes < MOST_BYTES)
