"""What waited at WhatsApp while we were away is read before anything is sent.

whatsmeow takes the keys of a conversation from its store, uses them and writes them back, for each message
that it reads or sends, and does not keep the two apart (send.go, message.go, store/sessioncache.go). Of two
at once one is undone: then the other person cannot open what we sent, or we what came. While a backlog is
read, one message right after the other, that is nearly certain.
"""

import threading
import time
from collections.abc import Callable

from appliance.engine.base import EngineError
from appliance.engine.worker.translate import Code

_UNANNOUNCED_S = 1.0
"""Something waits if WhatsApp says so, which it does right after the connection (types/events/events.go)."""
_SILENT_S = 5.0
"""Should WhatsApp never say that this was all: it was, when nothing has come for so long."""
_LONGEST_S = 45.0
"""And no send waits longer than that after the connection. Main gives one 60 s in all."""


class CatchUp:
    """Knows whether the library is still reading what waited; for any thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._is_announced = self._is_done = self._is_over = False
        self._connected_at: float | None = None
        self._heard_at = 0.0
        self._change = threading.Condition()

    def happened(self, code: int) -> None:
        """To be told of each happening as it comes. What waits, and its end, may be told before the
        connection is."""
        with self._change:
            self._heard_at = self._monotonic()
            match code:
                case Code.CONNECTED:
                    self._connected_at = self._heard_at
                case Code.ANNOUNCED:
                    self._is_announced = True
                case Code.CAUGHT_UP:
                    self._is_done = True
                case Code.DISCONNECTED:
                    self._is_announced = self._is_done = False
                    self._connected_at = None
                case _:
                    return
            self._change.notify_all()

    def wait(self) -> None:
        """Return when one may send, at once without a connection. Raises EngineError when the session is
        ended meanwhile."""
        with self._change:
            while (left_s := self.left_s()) > 0:
                self._change.wait(left_s)
            if self._is_over:
                raise EngineError("not_connected", "the session is being stopped", retryable=True)

    def left_s(self) -> float:
        """How long one would have to wait from now on, at most."""
        if self._is_over or self._is_done or self._connected_at is None:
            return 0.0
        until = self._connected_at + _UNANNOUNCED_S
        if self._is_announced:
            until = min(self._heard_at + _SILENT_S, self._connected_at + _LONGEST_S)
        return max(0.0, until - self._monotonic())

    def close(self) -> None:
        """The session is being ended: nothing is begun any more."""
        with self._change:
            self._is_over = True
            self._change.notify_all()
