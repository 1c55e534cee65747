"""A worker sends nothing while what waited at WhatsApp is being read."""

import threading

from patience import PATIENCE_S

from appliance.engine.base import EngineError
from appliance.engine.worker.catch_up import CatchUp
from appliance.engine.worker.translate import Code

SHORT_S = 0.1


class Sender(threading.Thread):
    """Waits for its turn on a thread of its own."""

    def __init__(self, waited_for: CatchUp) -> None:
        super().__init__(daemon=True)
        self._waited_for = waited_for
        self.refused: EngineError | None = None
        self.start()

    def run(self) -> None:
        try:
            self._waited_for.wait()
        except EngineError as error:
            self.refused = error

    def still_waits(self) -> bool:
        self.join(SHORT_S)
        return self.is_alive()

    def goes(self) -> bool:
        self.join(PATIENCE_S)
        return not self.is_alive() and self.refused is None


def test_a_send_waits_for_the_end_of_the_backlog_and_the_next_does_not() -> None:
    caught_up = CatchUp()
    caught_up.happened(Code.CONNECTED)
    caught_up.happened(Code.ANNOUNCED)
    sender = Sender(caught_up)
    caught_up.happened(Code.MESSAGE)
    assert sender.still_waits()
    caught_up.happened(Code.CAUGHT_UP)
    assert sender.goes()
    assert Sender(caught_up).goes()


def test_the_end_of_the_backlog_may_be_told_before_the_connection() -> None:
    caught_up = CatchUp()
    caught_up.happened(Code.CAUGHT_UP)
    caught_up.happened(Code.CONNECTED)
    assert Sender(caught_up).goes()


def test_each_connection_has_a_backlog_of_its_own() -> None:
    caught_up = CatchUp()
    for code in (Code.CONNECTED, Code.CAUGHT_UP, Code.DISCONNECTED, Code.ANNOUNCED, Code.CONNECTED):
        caught_up.happened(code)
    sender = Sender(caught_up)
    assert sender.still_waits()
    caught_up.happened(Code.DISCONNECTED)
    assert sender.goes(), "without a connection the library itself refuses"


def test_where_the_end_is_never_told_silence_or_time_is_the_end() -> None:
    now = 1000.0
    caught_up = CatchUp(lambda: now)
    assert caught_up.left_s() == 0
    caught_up.happened(Code.CONNECTED)
    assert caught_up.left_s() == 1
    caught_up.happened(Code.ANNOUNCED)
    assert caught_up.left_s() == 5
    while caught_up.left_s():
        now += 4
        caught_up.happened(Code.MESSAGE)
    assert now == 1048
    caught_up.happened(Code.DISCONNECTED)
    caught_up.happened(Code.CONNECTED)
    now += 1
    assert caught_up.left_s() == 0
    assert Sender(caught_up).goes()


def test_whoever_waits_when_the_session_is_ended_may_try_again() -> None:
    caught_up = CatchUp()
    caught_up.happened(Code.CONNECTED)
    caught_up.happened(Code.ANNOUNCED)
    sender = Sender(caught_up)
    assert sender.still_waits()
    caught_up.close()
    sender.join(PATIENCE_S)
    assert sender.refused is not None
    assert sender.refused.retryable
