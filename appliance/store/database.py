"""The database: one writer that commits in groups, and readers that SQLite itself keeps from writing.

A change is a function of a Transaction: it runs on the writer's thread, so that it cannot await anything, and
one caller's failure rolls back only that caller. Every caller is answered after the COMMIT of its group.
Measured: behind a plain lock a 64-connection load is 3.8 times slower; without one, coroutines share one
transaction.
"""

import asyncio
import contextlib
import gc
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import aiosqlite
import msgspec

from appliance.model.errors import GatewayError, StorageFull
from appliance.store import last_stop
from appliance.store.ballast import Ballast
from appliance.store.group_writer import GroupWriter, WriterFigures
from appliance.store.query import Query
from appliance.store.trouble import NotWritten, Trouble, trouble_of

T = TypeVar("T")
log = logging.getLogger(__name__)

READERS = 2
_PRAGMAS = (
    "PRAGMA auto_vacuum = INCREMENTAL",  # must come before the first page is written in WAL mode
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA busy_timeout = 10000",
    "PRAGMA journal_size_limit = 8388608",
    # Pages that are changed again and again are written to the file once in 8 MiB of log, not in 4.
    "PRAGMA wal_autocheckpoint = 2000",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
)


class StoreError(GatewayError):
    """The database cannot be read or written now."""

    code = "store_unavailable"
    title = "The change could not be written to disk"
    retryable = True


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`synchronous` is FULL because NORMAL loses acknowledged rows at a power cut."""

    cache_mib: Annotated[int, msgspec.Meta(ge=1)] = 8


class StoreLost(Exception):
    """The file is damaged, or the disk refuses for too long: only a new start can help, which checks the
    file."""


class Transaction:
    """What a change may do: run statements. Valid only during the function it was handed to."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, *args: Any) -> int:
        """Run one statement; returns how many rows it changed."""
        return self._connection.execute(sql, args).rowcount

    def insert(self, sql: str, *args: Any) -> int:
        """Run one INSERT; returns the rowid it made."""
        rowid = self._connection.execute(sql, args).lastrowid
        assert rowid is not None
        return rowid

    def one(self, query: Query[T]) -> T | None:
        return _decoded_one(query, self._rows(query, 1))

    def all(self, query: Query[T]) -> list[T]:
        return _decoded(query, self._rows(query))

    def _rows(self, query: Query[T], limit: int = -1) -> list[Any]:
        try:
            return self._connection.execute(query.sql, query.args).fetchmany(limit)
        except sqlite3.OperationalError as error:
            if not _is_garbled(error):
                raise
        with _patience(self._connection):
            return self._connection.execute(query.sql, query.args).fetchmany(limit)


class Snapshot:
    """Reads that all see the same moment."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def one(self, query: Query[T]) -> T | None:
        return _decoded_one(query, await self._rows(query))

    async def all(self, query: Query[T]) -> list[T]:
        return _decoded(query, await self._rows(query))

    async def _rows(self, query: Query[T]) -> Sequence[Any]:
        """All rows in one step of the connection's thread: a statement that is left half-way, because its
        caller gave up, would hold on to its moment."""
        try:
            return list(await self._connection.execute_fetchall(query.sql, query.args))
        except sqlite3.OperationalError as error:
            if not _is_garbled(error):
                raise
        with _patience(self._connection):
            rows = await self._connection.execute_fetchall(query.sql, query.args)
        return list(rows)


class Reader:
    """Reads for routes: every connection is `query_only`, so a write through it fails in SQLite itself.

    `open_connection` makes one, again after an I/O error; `on_trouble` is told what the disk or the file did
    to a read. A read then raises StoreError.
    """

    def __init__(
        self,
        open_connection: Callable[[], Awaitable[aiosqlite.Connection]],
        on_trouble: Callable[[Trouble, str], None],
    ) -> None:
        self._open_connection = open_connection
        self._on_trouble = on_trouble
        self.long_read = asyncio.Lock()
        """To be held for a read that may take long: the other connections stay free for everybody else."""
        # None stands for a connection that has to be opened before its next use.
        self._free: asyncio.Queue[aiosqlite.Connection | None] = asyncio.Queue()

    async def open(self) -> None:
        """Raises sqlite3.Error."""
        for _ in range(READERS):
            self._free.put_nowait(await self._open_connection())

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """Several reads of one moment."""
        async with self._borrowed() as connection:
            try:
                await connection.execute("BEGIN")
                yield Snapshot(connection)
            finally:
                # Also after a BEGIN that was cancelled: its thread carries it out all the same, and a moment
                # that never ends shows old rows for ever and keeps the WAL from being used again.
                await asyncio.shield(connection.rollback())

    async def one(self, query: Query[T]) -> T | None:
        async with self._borrowed() as connection:
            return await Snapshot(connection).one(query)

    async def all(self, query: Query[T]) -> list[T]:
        async with self._borrowed() as connection:
            return await Snapshot(connection).all(query)

    async def close(self) -> None:
        for _ in range(READERS):
            await _close(await self._free.get())

    @contextlib.asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[aiosqlite.Connection]:
        connection = await self._free.get()
        try:
            if connection is None:
                connection = await self._open_connection()
            yield connection
        except sqlite3.Error as error:
            trouble = trouble_of(error)
            if trouble is None or error.sqlite_errorcode == sqlite3.SQLITE_READONLY:
                raise  # a broken statement, or one that tried to write
            if trouble is Trouble.IO:
                await _close(connection)
                connection = None
            self._on_trouble(trouble, str(error))
            raise StoreError(f"The database answered: {error}.") from error
        finally:
            self._free.put_nowait(connection)


class Database:
    """The open database. `reader` for reads; `transaction` for changes; `close` checkpoints and ends both.
    `ballast` is given up when the disk has no room for a change."""

    def __init__(self, path: Path, settings: StoreSettings) -> None:
        self.path = path
        self.ballast = Ballast(path.parent)
        self._writer = GroupWriter(lambda: connect(path, settings), self.ballast.release, self._lose)
        self._closing = False
        self.reader = Reader(self._open_reader, self._read_failed)

    @property
    def commits(self) -> int:
        return self._writer.figures.commits

    @property
    def changes(self) -> int:
        return self._writer.figures.changes

    @property
    def figures(self) -> WriterFigures:
        return self._writer.figures

    @property
    def is_wanted(self) -> bool:
        """Whether a change waits that does not yield: for a long one that does, to make an end."""
        return self._writer.is_wanted

    async def open(self) -> None:
        """Open writer and readers; the schema must be there already. Raises sqlite3.Error."""
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[str] = self._loop.create_future()
        if not await asyncio.to_thread(self.ballast.take):
            log.error("disk_low")
        await self._writer.open()
        await self.reader.open()

    async def transaction(self, work: Callable[[Transaction], T], *, yields: bool = False) -> T:
        """Run `work` in a transaction and return its result after COMMIT. `yields`: for what nobody waits for
        at a door; it lets others go first, for a moment.

        What `work` raises is raised here and its changes are undone. It may run twice, once in vain.
        Raises StorageFull, StoreError when the disk refuses.
        A caller that is cancelled meanwhile leaves the change to be committed.
        """
        if self._closing:
            raise StoreError("The gateway is stopping.")
        try:
            result: T = await self._writer.submit(
                lambda connection: work(Transaction(connection)), yields=yields
            )
        except NotWritten as error:
            raise storage_error(error) from error
        except sqlite3.Error as error:
            if trouble_of(error) is None:
                raise
            raise storage_error(error) from error
        return result

    async def watch(self) -> None:
        """Wait for the end of the store, for ever while it is well. Raises StoreLost."""
        raise StoreLost(await asyncio.shield(self._lost))

    def condemn(self, reason: str) -> None:
        """The file was found damaged: the next start checks all of it, and this life ends by `watch`."""
        self._lose(Trouble.CORRUPT, reason)

    async def close(self) -> None:
        """Commit what is waiting, close the readers, checkpoint, close."""
        self._closing = True
        if hasattr(self, "_loop"):
            await self.reader.close()
            await self._writer.close()

    async def _open_reader(self) -> aiosqlite.Connection:
        connection = await aiosqlite.connect(self.path, isolation_level=None)
        await connection.execute("PRAGMA busy_timeout = 10000")
        await connection.execute("PRAGMA query_only = ON")
        return connection

    def _read_failed(self, trouble: Trouble, text: str) -> None:
        log.error("store_read_failed", extra={"trouble": trouble.value})
        if trouble is Trouble.CORRUPT:
            self._lose(trouble, text)

    def _lose(self, trouble: Trouble, text: str) -> None:
        log.critical("store_lost", extra={"trouble": trouble.value})
        if trouble is Trouble.CORRUPT:
            with contextlib.suppress(OSError):
                last_stop.suspect(self.path)
        with contextlib.suppress(RuntimeError):  # the loop is already closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._tell_lost, text)

    def _tell_lost(self, text: str) -> None:
        if not self._lost.done():
            self._lost.set_result(text)


SQLITE_VERSION = sqlite3.sqlite_version
"""The library that Python is linked with."""


def connect(path: Path, settings: StoreSettings) -> sqlite3.Connection:
    """A writing connection with the house's pragmas; transactions are ours to begin."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        for pragma in (*_PRAGMAS, f"PRAGMA cache_size = -{settings.cache_mib * 1024}"):
            connection.execute(pragma)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def storage_error(error: sqlite3.Error | NotWritten) -> GatewayError:
    """SQLite's refusal as one of ours: a full disk is StorageFull, anything else StoreError."""
    trouble = error.trouble if isinstance(error, NotWritten) else trouble_of(error)
    if trouble is Trouble.FULL:
        return StorageFull(
            "There is no room left on the disk. Nothing was stored; try again after making room."
        )
    if isinstance(error, NotWritten) and not error.outcome_known:
        return StoreError(
            f"The database answered: {error}. Whether the change was kept shows after the next start; "
            "a send is safely repeated with the same Idempotency-Key."
        )
    return StoreError(f"The database answered: {error}. Nothing was stored.")


def _decoded(query: Query[T], rows: Iterable[Any]) -> list[T]:
    """What the rows mean. A row that means nothing (bytes changed on the disk) is left out and logged: one of
    them must not hide the others."""
    found = []
    for row in rows:
        try:
            found.append(query.decode(tuple(row)))
        except msgspec.MsgspecError as error:
            log.error("row_unreadable", extra={"error": type(error).__name__})
    return found


def _decoded_one(query: Query[T], rows: Sequence[Any]) -> T | None:
    """What the one row means, if there is one. Raises StoreError when it means nothing."""
    if not rows:
        return None
    try:
        return query.decode(tuple(rows[0]))
    except msgspec.MsgspecError as error:
        log.error("row_unreadable", extra={"error": type(error).__name__})
        raise StoreError("What is stored there was damaged on the disk and cannot be read.") from error


def _is_garbled(error: sqlite3.OperationalError) -> bool:
    """Whether a stored text is not UTF-8 any more; Python gives this no code of its own."""
    return not hasattr(error, "sqlite_errorcode") and "decode to UTF-8" in str(error)


@contextlib.contextmanager
def _patience(connection: sqlite3.Connection | aiosqlite.Connection) -> Iterator[None]:
    """Texts are read with marks in place of what is no UTF-8: a garbled name must not hide the row."""
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        yield
    finally:
        connection.text_factory = str
        # The read that failed hangs in a circle of its error and its frames, half-way and holding on to its
        # moment: the log could not be used again, nor the database closed.
        gc.collect()


async def _close(connection: aiosqlite.Connection | None) -> None:
    if connection is not None:
        with contextlib.suppress(sqlite3.Error):
            await connection.close()
