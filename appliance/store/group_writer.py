"""The writer: one thread, one connection; changes that wait together share one COMMIT.

A connection that met an I/O error writes no more. A new one first writes over what the failed commit may have
left in the log, so that it can be said that nothing of it was kept; while none can be had, changes are
refused at once, and after `give_up_s` the writer is lost: the process should end and begin anew.
"""

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from appliance.model.tally import Spread
from appliance.store.trouble import NotWritten, Trouble, trouble_of

log = logging.getLogger(__name__)

GROUP_LIMIT = 64
SLOW_MS = 250
GIVE_UP_S = 30.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
GROUP_BOUNDS_S = (0.001, 0.005, 0.025, 0.1, 0.25, 1, 5)

Work = Callable[[sqlite3.Connection], Any]


class Change:
    """One caller's work and the future that waits for its commit. `yields`: nobody waits for it at a door."""

    __slots__ = ("error", "future", "result", "work", "yields")

    def __init__(self, work: Work, future: asyncio.Future[Any], *, yields: bool) -> None:
        self.work = work
        self.future = future
        self.yields = yields
        self.result: Any = None
        self.error: BaseException | None = None


class WriterFigures:
    """What the writer did since it began: commits and the changes in them, groups that were `slow`,
    connections given up (`breaks`), and how long each group took."""

    __slots__ = ("breaks", "changes", "commits", "group_s", "slow")

    def __init__(self) -> None:
        self.commits = 0
        self.changes = 0
        self.slow = 0
        self.breaks = 0
        self.group_s = Spread(GROUP_BOUNDS_S)


class GroupWriter:
    """Takes changes from the event loop and commits them on its thread.

    `connect` opens a connection, again after each failure; `on_full` and `on_lost` are called on the writer's
    thread: when the disk has no room, and once when nothing can be written any more (with the reason).
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        on_full: Callable[[], None],
        on_lost: Callable[[Trouble, str], None],
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self._connect = connect
        self._on_full = on_full
        self._on_lost = on_lost
        self._give_up_s = give_up_s
        self._queue: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._first: deque[Change] = deque()
        self._yielding: deque[Change] = deque()
        self._yielded = False
        self._ending = False
        # Changes that do not yield: handed in, counted on the loop, and begun, counted on the thread.
        self._handed_in = 0
        self._begun = 0
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        # Stays open until a new one has written: it holds the index of the log, which knows that the failed
        # commit is none. Without it a new connection would read the log afresh and might take it for one.
        self._retired: sqlite3.Connection | None = None
        self._broken: NotWritten | None = None
        self._broken_at = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._lost = False
        self.figures = WriterFigures()

    async def open(self) -> None:
        """Start the thread and open its connection. Raises sqlite3.Error."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="db-writer", daemon=True)
        self._thread.start()
        await opened

    def submit(self, work: Work, *, yields: bool = False) -> asyncio.Future[Any]:
        """A future for what `work` returns, resolved after its COMMIT; it raises what `work` raised, or
        NotWritten. `yields`: it lets one group of others go before it."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if not yields:
            self._handed_in += 1
        self._queue.put(Change(work, future, yields=yields))
        return future

    @property
    def is_wanted(self) -> bool:
        """Whether a change waits that does not yield."""
        return self._handed_in != self._begun

    async def close(self) -> None:
        """Commit what is waiting, checkpoint, close."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    def _run(self, opened: asyncio.Future[None]) -> None:
        try:
            self._connection = self._connect()
        except sqlite3.Error as error:
            self._loop.call_soon_threadsafe(opened.set_exception, error)
            return
        self._loop.call_soon_threadsafe(opened.set_result, None)
        while not self._ending or self._first or self._yielding:
            self._take_in()
            if group := self._next_group():
                self._commit(group)
            if self._broken is not None and not self._lost and not self._ending:
                self._try_again()
        _close(self._retired)
        _close(self._connection, checkpoint=True)

    def _take_in(self) -> None:
        """Take what has come; if there is nothing to do, wait for it. While the connection is broken that
        wait lasts only until the next attempt to open one."""
        is_idle = not (self._first or self._yielding or self._ending)
        try:
            if is_idle:
                waits_s = self._pause_s if self._broken is not None and not self._lost else None
                self._sort_in(self._queue.get(timeout=waits_s))
            while True:
                self._sort_in(self._queue.get_nowait())
        except queue.Empty:
            return

    def _sort_in(self, change: Change | None) -> None:
        if change is None:
            self._ending = True
        else:
            (self._yielding if change.yields else self._first).append(change)

    def _next_group(self) -> list[Change]:
        """About GROUP_LIMIT of what waits. Those that yield come in when they have let one group go before
        them, or when nobody else is there; then they are not much behind, and share the others' COMMIT. One
        of them does even where the others fill the group, time after time."""
        group = [self._first.popleft() for _ in range(min(GROUP_LIMIT, len(self._first)))]
        self._begun += len(group)
        if group and self._yielding and not self._yielded:
            self._yielded = True
            return group
        self._yielded = False
        room = max(1, GROUP_LIMIT - len(group))
        return group + [self._yielding.popleft() for _ in range(min(room, len(self._yielding)))]

    def _commit(self, group: list[Change]) -> None:
        started = time.monotonic()
        if self._connection is None:
            assert self._broken is not None
            _fail(group, self._broken)
        elif (failure := carry_out(self._connection, group)) is not None:
            _fail(group, self._after(failure))
        else:
            self.figures.commits += 1
            self.figures.changes += len(group)
            if any(trouble_of(change.error) is Trouble.FULL for change in group if change.error):
                self._on_full()
        took_s = time.monotonic() - started
        took_ms = int(took_s * 1000)
        self.figures.group_s.note(took_s)
        if took_ms > SLOW_MS:
            self.figures.slow += 1
            log.warning("slow_transaction", extra={"ms": took_ms, "changes": len(group)})
        with contextlib.suppress(RuntimeError):  # the loop is already closed: nobody waits any more
            self._loop.call_soon_threadsafe(_answer, group)

    def _after(self, failure: sqlite3.Error) -> NotWritten:
        """Do what the group's failure asks for; returns what its callers are told."""
        trouble = trouble_of(failure)
        match trouble:
            case Trouble.FULL:
                self._on_full()
            case Trouble.CORRUPT:
                self._break_off(failure, trouble)
                self._lose(trouble)
            case Trouble.IO:
                log.error("store_io_error", extra={"error": failure.sqlite_errorname})
                self._break_off(failure, trouble)
                self._reopen()
                return NotWritten(trouble, str(failure), outcome_known=self._broken is None)
        return NotWritten(trouble, str(failure))

    def _break_off(self, failure: sqlite3.Error, trouble: Trouble) -> None:
        self._retired, self._connection = self._connection, None
        self._broken = NotWritten(trouble, str(failure))
        self.figures.breaks += 1
        self._broken_at = time.monotonic()
        self._pause_s = FIRST_PAUSE_S

    def _reopen(self) -> None:
        """Open a connection and write through it; the connection is whole again if that succeeds."""
        connection = None
        try:
            connection = self._connect()
            write_over(connection)
        except sqlite3.Error as error:
            _close(connection)
            log.error("store_not_reopened", extra={"error": getattr(error, "sqlite_errorname", "")})
            trouble = trouble_of(error)
            if trouble is Trouble.FULL:
                self._on_full()
            if trouble is Trouble.CORRUPT:
                self._lose(trouble)
            return
        _close(self._retired)
        self._connection, self._retired, self._broken = connection, None, None
        log.warning("store_reopened", extra={"after_ms": int((time.monotonic() - self._broken_at) * 1000)})

    def _try_again(self) -> None:
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        self._reopen()
        if self._broken is not None and time.monotonic() - self._broken_at > self._give_up_s:
            self._lose(Trouble.IO)

    def _lose(self, trouble: Trouble) -> None:
        if not self._lost:
            self._lost = True
            self._on_lost(trouble, str(self._broken))


def carry_out(connection: sqlite3.Connection, group: list[Change]) -> sqlite3.Error | None:
    """Run and commit the group; None when each change has its result or its own error. An error returned
    means that the group failed as one, and that nothing of it was kept, as far as the file can be trusted.

    Together first: two statements fewer for each caller. Should one of them fail for reasons of its own, each
    runs again with a savepoint.
    """
    try:
        if _all_together(connection, group):
            return None
        connection.execute("BEGIN IMMEDIATE")
        for change in group:
            _apply(connection, change)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        _roll_back(connection)
        return error
    return None


def write_over(connection: sqlite3.Connection) -> None:
    """Commit a change of nothing. A commit that failed leaves its frames behind the end of the log; were the
    process to die now, the next start might take them for committed. The next commit writes over them.
    Raises sqlite3.Error."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("COMMIT")


def _all_together(connection: sqlite3.Connection, group: list[Change]) -> bool:
    """Run and commit the whole group without savepoints; False when a change failed by itself: nothing has
    changed. Raises sqlite3.Error when the group failed as one."""
    connection.execute("BEGIN IMMEDIATE")
    for change in group:
        try:
            change.result = change.work(connection)
        except Exception as error:
            if _is_everybodys(error):
                raise
            _roll_back(connection)
            return False
    connection.execute("COMMIT")
    return True


def _apply(connection: sqlite3.Connection, change: Change) -> None:
    connection.execute("SAVEPOINT caller")
    try:
        change.result = change.work(connection)
    except Exception as error:
        # A full disk may already have undone the whole transaction: then the group fails as one.
        if _is_everybodys(error) or (isinstance(error, sqlite3.Error) and not connection.in_transaction):
            raise
        change.error = error
        connection.execute("ROLLBACK TO caller")
    connection.execute("RELEASE caller")


def _is_everybodys(error: Exception) -> bool:
    return trouble_of(error) in {Trouble.IO, Trouble.CORRUPT}


def _close(connection: sqlite3.Connection | None, *, checkpoint: bool = False) -> None:
    if connection is None:
        return
    with contextlib.suppress(sqlite3.Error):
        if checkpoint:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with contextlib.suppress(sqlite3.Error):
        connection.close()


def _roll_back(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        connection.execute("ROLLBACK")


def _fail(group: list[Change], error: NotWritten) -> None:
    for change in group:
        change.error = change.error or error


def _answer(group: list[Change]) -> None:
    for change in group:
        if change.future.done():
            continue
        if change.error is not None:
            change.future.set_exception(change.error)
        else:
            change.future.set_result(change.result)
