"""Main's commands, carried out on threads: messages one after the other, the rest beside them."""

import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from appliance.engine import wire
from appliance.engine.base import EngineError, PairCode, SendEnded, Sent
from appliance.engine.worker.backlog import Backlog, Outlet
from appliance.engine.worker.build import built
from appliance.engine.worker.calls import Calls
from appliance.engine.worker.catch_up import CatchUp
from appliance.engine.worker.translate import Code, Translator

log = logging.getLogger(__name__)


class Commands:
    """Performs each command and reports its Result or Failure."""

    def __init__(
        self,
        calls: Calls,
        outlet: Outlet,
        backlog: Backlog,
        translator: Translator,
        catch_up: CatchUp,
        happened: Callable[[int, bytes], None],
    ) -> None:
        self._calls = calls
        self._outlet = outlet
        self._backlog = backlog
        self._translator = translator
        self._catch_up = catch_up
        self._happened = happened
        self._sends = ThreadPoolExecutor(1, "sends")
        self._others = ThreadPoolExecutor(3, "calls")

    def accept(self, command: wire.Request) -> None:
        """Have the command performed; returns at once."""
        pool = self._sends if isinstance(command, wire.Send) else self._others
        pool.submit(self._perform, command)

    def aside(self, work: Callable[..., None], *args: Any) -> None:
        """Run something of our own beside the commands."""
        self._others.submit(work, *args)

    def settle(self, within_s: float) -> None:
        """Give the message that is being sent the time to end: its end is an event, and will be spooled."""
        with contextlib.suppress(TimeoutError):
            self._sends.submit(lambda: None).result(within_s)

    def close(self) -> None:
        """Begin nothing any more."""
        self._sends.shutdown(wait=False, cancel_futures=True)
        self._others.shutdown(wait=False, cancel_futures=True)

    def _perform(self, command: wire.Request) -> None:
        try:
            value = self._act(command)
        except EngineError as error:
            failure = wire.Failure(
                command.n,
                error.code,
                error.text,
                error.unknown_outcome,
                error.retryable,
                error.until,
            )
            self._answer(failure, _failed_for_good(command, error))
        except Exception as error:  # noqa: BLE001 (the caller must hear of it, whatever it was)
            log.error("command failed: %s", type(error).__name__)
            self._answer(wire.Failure(command.n, "engine_error", type(error).__name__), None)
        else:
            self._answer(wire.result(command.n, value), _sent(command, value))

    def _answer(self, answer: wire.Result | wire.Failure, ended: SendEnded | None) -> None:
        """Tell main. How a send ended is an event too, which outlives main; the two go in one piece, so that
        main wakes up once."""
        if ended is None:
            self._outlet.write(answer)
        else:
            self._backlog.tell(ended, followed_by=wire.frame(answer))

    def _act(self, command: wire.Request) -> Any:
        match command:
            case wire.Send():
                return self._send(command)
            case wire.MakePairCode(_, phone):
                return PairCode(self._calls.pair_phone(phone), self._translator.linking_until_ms)
            case wire.Logout():
                self._calls.logout()
                self._happened(Code.UNLINKED, b"")
            case wire.Download(_, source, path):
                return self._calls.download(source, Path(path))
            case wire.Check(_, phones):
                return self._calls.registered(phones)
        return None

    def _send(self, command: wire.Send) -> Sent:
        message = built(command.message, self._calls)
        self._catch_up.wait()
        self._outlet.write(wire.Begun(command.n))
        return self._calls.send(command.message.to, message)


def _sent(command: wire.Request, value: Any) -> SendEnded | None:
    if isinstance(command, wire.Send) and command.message.ref:
        return SendEnded(command.message.ref, value)
    return None


def _failed_for_good(command: wire.Request, error: EngineError) -> SendEnded | None:
    """A send that may be tried again has not ended."""
    if not isinstance(command, wire.Send) or not command.message.ref or error.retryable:
        return None
    return SendEnded(
        command.message.ref,
        code=error.code,
        text=error.text,
        unknown_outcome=error.unknown_outcome,
        until=error.until,
    )
