"""One session's life in its worker: commands come in by the socket, happenings go out by the backlog.

Threads: the caller's reads the socket; one runs the library's session (it may never return); one turns its
happenings into events, in order; one sends messages, in order; a few make the other calls.
"""

import contextlib
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from appliance.engine import spool, wire
from appliance.engine.base import ChatNamed, EngineError, MessageIn
from appliance.engine.worker.backlog import Backlog, Outlet
from appliance.engine.worker.calls import Calls
from appliance.engine.worker.catch_up import CatchUp
from appliance.engine.worker.commands import Commands
from appliance.engine.worker.errors import without_numbers
from appliance.engine.worker.library import Library
from appliance.engine.worker.log import log_library
from appliance.engine.worker.protos import DEVICE_PROPS
from appliance.engine.worker.threads import all_asleep
from appliance.engine.worker.translate import SUBSCRIBED, Code, Translator

log = logging.getLogger(__name__)

_WAITING_HAPPENINGS = 1000
_SENDS_S = 1.5
_DISCONNECT_S = 0.8
_DRAIN_S = 4.0
_QUIET_S = 0.1
_LOOK_S = 0.02
_ACKS_S = 1.5
_PRESENCE_TRIES_S = (0.5, 1, 2, 4, 8, 16, 32, 64)
_READ_BYTES = 1 << 16
_STILL_S = 2.0
"""Nothing has happened for so long after the connection: what the start needed is not needed now."""


class SessionLoop:
    """Runs one session from Start to the end of the socket."""

    def __init__(
        self,
        library: Library,
        sock: socket.socket,
        start: wire.Start,
        frames: wire.FrameReader,
        lock: AbstractContextManager[Any] | None = None,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self._library = library
        self._sock = sock
        self._start = start
        self._frames = frames
        self._settle = settle
        self._folder = Path(start.folder)
        self._outlet = Outlet(sock)
        self._backlog = Backlog(self._outlet, start.incarnation)
        self._spool = spool.Spool(self._folder)
        self._name = f"{start.device_id}-{start.incarnation}".encode()
        self.calls = Calls(library, self._name, lock)
        self._translator = Translator(self.calls, start.linked)
        self._happenings: queue.Queue[tuple[int, bytes]] = queue.Queue(_WAITING_HAPPENINGS)
        self._catch_up = CatchUp()
        self._commands = Commands(
            self.calls, self._outlet, self._backlog, self._translator, self._catch_up, self._happened
        )
        self._ending = threading.Event()
        self._finisher = threading.Thread(target=self._finish, name="finish", daemon=True)
        self._finish_lock = threading.Lock()
        self._greeting = threading.Lock()
        self._named: set[str] = set()
        self._happened_count = 0

    def run(self, pid: int) -> None:
        """Serve main until it is gone or said Stop; whatever it did not acknowledge is in the spool then."""
        self._outlet.write(wire.Hello(pid, self._library.version))
        threading.Thread(target=self._translate, name="events", daemon=True).start()
        threading.Thread(target=self._session, name="session", daemon=True).start()
        self._serve()
        self._backlog.close()
        self._keep()
        self._begin_finish()
        self._finisher.join()
        rest = self._backlog.rest()
        self._spool.keep(rest)
        if rest:
            log.warning("spooled %d", len(rest))

    def release(self) -> None:
        """After `run`, where the process lives on: let the threads end, as far as they can."""
        hanging = threading.Thread(target=self.calls.release, name="release", daemon=True)
        hanging.start()
        hanging.join(_DISCONNECT_S)
        self._commands.close()
        with contextlib.suppress(queue.Full):
            self._happenings.put_nowait((Code.OVER, b""))

    def _session(self) -> None:
        database = f"{quote(str(self._folder / 'session.db'))}?_foreign_keys=on&_busy_timeout=10000&_x="
        props = DEVICE_PROPS(os="WA Gateway", platformType=DEVICE_PROPS.CHROME).SerializeToString()
        error = self._library.run(
            database,
            self._name,
            props=props,
            wanted=SUBSCRIBED,
            proxy=self._start.proxy,
            on_qr=lambda text: self._happened(Code.QR, text.encode()),
            on_status=lambda word: self._happened(Code.STATUS, word.encode()),
            on_event=self._happened,
            on_log=log_library,
        )
        log.warning("the library returned: %s", without_numbers(error))
        self._happenings.put((Code.RETURNED, error.encode()))

    def _happened(self, code: int, data: bytes) -> None:
        """Called by Go: hand over and return, or wait while main is far behind."""
        self.calls.ready.set()
        self._happened_count += 1
        self._catch_up.happened(code)
        if code == Code.CONNECTED and self._ending.is_set():
            self._hang_up()
        self._happenings.put((code, data))

    def _translate(self) -> None:
        still_s = None
        while True:
            try:
                code, data = self._happenings.get(timeout=still_s)
            except queue.Empty:
                still_s = None
                self._settle()
                continue
            if code == Code.OVER:
                return
            if code == Code.CONNECTED:
                still_s = _STILL_S
            try:
                self._tell(code, data)
            except Exception as error:  # noqa: BLE001 (one strange message must not end the session)
                log.error("happening %d not told: %s", code, type(error).__name__)
            finally:
                self._happenings.task_done()

    def _tell(self, code: int, data: bytes) -> None:
        if self._translator.over and code not in {Code.MESSAGE, Code.RECEIPT}:
            return
        for event in self._translator.events(code, data):
            self._backlog.tell(event)
            if isinstance(event, MessageIn):
                self._learn_name(event.chat)
        if code == Code.CONNECTED:
            self._commands.aside(self._greet)
        if self._translator.over:
            self._begin_finish()

    def _greet(self) -> None:
        """Tell WhatsApp our push name (others see `-` until then) by an `unavailable` presence.

        Never `available`: that would keep the phone from ringing. The name itself comes through app state,
        after a while.
        """
        if not self._greeting.acquire(blocking=False):
            return
        try:
            for wait_s in _PRESENCE_TRIES_S:
                with contextlib.suppress(EngineError):
                    self.calls.send_presence("unavailable")
                    self._happened(Code.GREETED, b"")
                    return
                if self._ending.wait(wait_s):
                    return
        finally:
            self._greeting.release()

    def _learn_name(self, chat: str) -> None:
        if chat.endswith("@g.us") and chat not in self._named:
            self._named.add(chat)
            self._commands.aside(self._tell_name, chat)

    def _tell_name(self, chat: str) -> None:
        if name := self.calls.group_name(chat):
            self._backlog.tell(ChatNamed(chat, name))

    def _serve(self) -> None:
        """Act on what main says until the socket ends."""
        while True:
            for command in self._frames.commands():
                self._obey(command)
            try:
                data = self._sock.recv(_READ_BYTES)
            except OSError:
                return
            if not data:
                return
            self._frames.feed(data)

    def _obey(self, command: wire.Down) -> None:
        match command:
            case wire.Ack(seq):
                self._backlog.acknowledge(seq)
            case wire.Stop():
                self._begin_finish()
            case wire.Start():
                log.error("a second start")
            case _:
                self._commands.accept(command)

    def _begin_finish(self) -> None:
        with self._finish_lock:
            if not self._ending.is_set():
                self._ending.set()
                self._finisher.start()

    def _keep(self) -> None:
        """Put what is not acknowledged on the disk now: whoever ends us may not wait for the rest of it."""
        try:
            self._spool.keep(self._backlog.rest())
        except OSError as error:
            log.error("not spooled: %s", error.strerror)

    def _finish(self) -> None:
        """Let the send under way end, stop what comes in, tell what came, wait for its acknowledgement; each
        within its own limit, for the library may hang."""
        self._keep()
        self._catch_up.close()
        self._commands.settle(_SENDS_S)
        self._hang_up().join(_DISCONNECT_S)
        self._wait_quiet()
        self._backlog.wait_empty(_ACKS_S)
        self._outlet.shut()

    def _hang_up(self) -> threading.Thread:
        """Have the connection closed: whoever is on the way to one cannot be called back, and must be told
        again once it stands."""
        hanging = threading.Thread(target=self.calls.disconnect, name="disconnect", daemon=True)
        hanging.start()
        return hanging

    def _wait_quiet(self) -> None:
        """Wait for what the library still hands over after it was disconnected.

        A message may be in the middle of being decrypted then. Its key is used up, so that no other run can
        read it: it would be lost if we did not wait for it. On a busy machine that may take long, but the
        thread that does it does not sleep.
        """
        now = quiet_since = time.monotonic()
        deadline, seen = now + _DRAIN_S, self._happened_count
        while now < deadline and now - quiet_since < _QUIET_S:
            time.sleep(_LOOK_S)
            now = time.monotonic()
            if self._happened_count != seen or self._happenings.unfinished_tasks or not all_asleep():
                self._keep()
                quiet_since, seen = now, self._happened_count
