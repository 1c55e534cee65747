"""Where a crash can come between two steps of a coroutine: every `await`, `async with` and `async for` on the
roads that messages take, found in the compiled code, so that a new one cannot be forgotten."""

import ast
import dis
import inspect
import linecache
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import CodeType

import msgspec

import appliance

HOUSE = Path(appliance.__file__).parent

ROADS = (
    *("api/sending.py", "gateway/outbox.py", "gateway/drafts.py"),  # accept
    *("gateway/drains.py", "engine/session.py", "engine/link.py"),  # send
    *("gateway/inbound.py", "gateway/incoming_messages.py", "gateway/receipts.py"),  # receive
    *("gateway/deliveries.py", "gateway/delivery_attempt.py", "gateway/delivery_records.py"),  # deliver
    *("store/database.py", "engine/supervisor.py", "gateway/devices.py"),  # remember, come back, stop
)
_DEVICES, _SESSION = "gateway/devices.py:DeviceManager", "engine/session.py:RealSession"
BESIDE = {
    "asks, and changes nothing": (
        *("api/sending.py:Sending.rehearse", "gateway/outbox.py:Outbox.rehearse", f"{_SESSION}.check"),
        *("store/database.py:Reader.snapshot", "gateway/outbox.py:Outbox.wait return await self._reader.one"),
    ),
    "a message without a key, which skips what is tried with one": (
        "gateway/outbox.py:Outbox.accept return await self._accept_new(account, device, draft, None",
    ),
    "a file's own road": (
        *(f"{_SESSION}._transfer", f"{_SESSION}.download", "api/sending.py:Sending.replay"),
        *(
            f"{_SESSION}.send async with self._transfer",
            f"{_SESSION}.send return await self._send(message, self._deadlines.media_s)",
        ),
    ),
    "what people do with devices": (
        *(f"{_SESSION}.pair_code", f"{_SESSION}.logout", "engine/supervisor.py:RealEngine.forget"),
        *(f"{_DEVICES}.{name}" for name in ("create", "update", "connect", "disconnect", "logout", "delete")),
        *(f"{_DEVICES}.{name}" for name in ("pair_code", "_unlink")),
        f"{_DEVICES}.run await self._start_again",  # a ban has ended
    ),
    "a caller who goes away meanwhile: unit/test_claims.py is about that": (
        "gateway/drains.py:Drains._look_for",
    ),
    "the disk refuses: the tests with a bad disk are there": (
        "store/database.py:Reader._borrowed",
        "store/database.py:Snapshot._rows rows = await self._connection.execute_fetchall",
        *("gateway/drains.py:Drains._turn await asyncio.sleep", "gateway/inbound.py:Inbound._apply_alone"),
        *("gateway/inbound.py:Inbound._apply await self._apply_alone", "gateway/inbound.py:Inbound._bury"),
        "gateway/delivery_records.py:DeliveryRecords._write await asyncio.sleep",
        "gateway/delivery_records.py:DeliveryRecords._write return any(",
        "gateway/delivery_records.py:DeliveryRecords._write.<locals>.<listcomp>",
    ),
    "needs a clock set back, a changed key file, an outage of minutes, a session away for a minute": (
        "gateway/deliveries.py:DeliveryWorker._follow_clock await self._db.transaction",
        "gateway/deliveries.py:DeliveryWorker._prepared",
        *(
            "gateway/deliveries.py:DeliveryWorker._catch_up",
            "gateway/deliveries.py:DeliveryWorker._serve await self._catch_up",
        ),
        f"{_SESSION}._watch await link.end",
    ),
    "needs a worker that hangs, or a receiver that is slow while the gateway stops": (
        "engine/link.py:Link.end await self.ended()",
        "gateway/deliveries.py:DeliveryWorker._wind_up await asyncio.",
    ),
    "waits for what has come already": (f"{_SESSION}._watch await ended",),
}
"""What is not on the roads, or needs a trouble of its own, and why: a function, or a function and how a line
begins."""

WRITING = "store/*.py"
STATEMENTS = ("BEGIN", "COMMIT")


class Steps(msgspec.Struct, frozen=True):
    """What a profiler can tell apart in one function: `awaits`, the name of each place where it may give up
    control, by the offset of its instruction; `writes`, the lines where a transaction begins or is
    committed."""

    label: str
    room: str
    awaits: dict[int, str]
    writes: dict[int, str]


def steps_of(code: CodeType) -> Steps | None:
    """The function's steps; None when it is not one of ours."""
    path = Path(code.co_filename)
    if not path.is_relative_to(HOUSE):
        return None
    file = path.relative_to(HOUSE)
    label = f"{file}:{code.co_qualname}"
    return Steps(label, file.parts[0], dict(_awaits(code, label)), _writes(path, code))


def on_the_roads() -> list[str]:
    """Every await of every road."""
    places = dict.fromkeys(each for file in ROADS for each in _of_module(HOUSE / file))
    return [place for place in places if not any(_is_meant(place, entry) for entry in _beside())]


def meaningless() -> list[str]:
    """The exceptions that mean nothing any more."""
    places = [each for file in ROADS for each in _of_module(HOUSE / file)]
    return [entry for entry in _beside() if not any(_is_meant(place, entry) for place in places)]


def _beside() -> list[str]:
    return [entry for entries in BESIDE.values() for entry in entries]


def _is_meant(place: str, entry: str) -> bool:
    function, _, line = place.rpartition(":")
    wanted, _, beginning = entry.partition(" ")
    if function != wanted:
        return False
    source = linecache.getline(str(HOUSE / function.partition(":")[0]), int(line.partition(".")[0]))
    return source.strip().startswith(beginning)


def _of_module(path: Path) -> Iterator[str]:
    waiting = [compile(path.read_bytes(), str(path), "exec")]
    while waiting:
        code = waiting.pop()
        steps = steps_of(code)
        assert steps is not None
        yield from steps.awaits.values()
        waiting += [each for each in code.co_consts if inspect.iscode(each)]


def _awaits(code: CodeType, label: str) -> Iterator[tuple[int, str]]:
    """The beginning and the end of an `async with` are two places. The same place may stand in the code
    several times: once for each way out of a `with` or a `try`."""
    if not code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        return
    instructions = list(dis.get_instructions(code))
    known: dict[tuple[int | None, int | None, bool], str] = {}
    on_line: dict[int, int] = {}
    for n, (earlier, each) in enumerate(pairwise(instructions)):
        if each.opname != "YIELD_VALUE" or earlier.opname != "SEND":
            continue
        assert each.positions is not None
        line, enters = each.positions.lineno or 0, instructions[n - 3].opname == "BEFORE_ASYNC_WITH"
        place = (each.positions.lineno, each.positions.col_offset, enters)
        if place not in known:
            nth = on_line[line] = on_line.get(line, 0) + 1
            known[place] = f"{label}:{line}" + (f".{nth}" if nth > 1 else "")
        yield each.offset, known[place]


def _writes(path: Path, code: CodeType) -> dict[int, str]:
    if not path.match(WRITING):
        return {}
    first, last = code.co_firstlineno, max(line for _, _, line in code.co_lines() if line)
    return {line: word for line, word in _executions(path).items() if first <= line <= last}


@cache
def _executions(path: Path) -> dict[int, str]:
    """The lines of a module where `BEGIN …` or `COMMIT` is executed."""
    found = {}
    for node in ast.walk(ast.parse(path.read_bytes())):
        match node:
            case ast.Call(func=ast.Attribute(attr="execute"), args=[ast.Constant(value=str(sql)), *_]):
                if (word := sql.partition(" ")[0]) in STATEMENTS:
                    found[node.lineno] = word
    return found
