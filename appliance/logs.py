"""Logs: one JSON object a line, on stderr or in a file; constant event names, data in fields, never what
people write."""

import collections
import json
import logging
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from appliance.log_file import LogFile

TAIL_LINES = 200
_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {"message", "taskName"}
# Only these say in their message nothing but what the system or we ourselves put there.
_PLAIN_ERRORS: tuple[type[BaseException], ...] = (OSError, ImportError, MemoryError, AssertionError)


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`level` and above is written; `format` is `json`, `text`, or `auto`: text on a terminal, else json.
    `file` takes the lines instead of stderr; at `max_mib` it is renamed, and `keep` renamed ones are kept."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    file: str | None = None
    max_mib: Annotated[int, msgspec.Meta(ge=1)] = 10
    keep: Annotated[int, msgspec.Meta(ge=0)] = 5

    @property
    def is_text(self) -> bool:
        on_terminal = self.file is None and sys.stderr.isatty()
        return self.format == "text" or (self.format == "auto" and on_terminal)


class JsonLines(logging.Formatter):
    """A record as one JSON object: time (ms), level, logger, event, then its fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": int(record.created * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
            **_fields(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["trace"] = _trace(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """The same for people: time, level, event and fields in one line, a trace below."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        line = f"{at} {record.levelname.lower():7} {_event(record)} {fields}".rstrip()
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n" + "\n".join(f"    {entry}" for entry in _trace(record.exc_info[1]))
        return line


class LogTail(logging.Handler):
    """Keeps the newest lines in memory, as people read them, for the dashboard's administrators."""

    def __init__(self, most: int = TAIL_LINES) -> None:
        super().__init__()
        self._lines: collections.deque[str] = collections.deque(maxlen=most)
        self.setFormatter(TextLines())

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))

    def lines(self) -> list[str]:
        """What is kept, oldest first."""
        return list(self._lines)


class Logs:
    """Every logger's records, sent where the settings say; the newest are kept in memory too. Raises
    LogFileUnusable."""

    def __init__(self, settings: LogSettings) -> None:
        self._tail = LogTail()
        self._out: logging.Handler | None = None
        self.use(settings)
        for chatty in ("aiosqlite", "asyncio", "granian.access", "aiohttp.access"):
            logging.getLogger(chatty).setLevel(logging.WARNING)

    def lines(self) -> list[str]:
        """The newest lines as people read them, oldest first."""
        return self._tail.lines()

    def use(self, settings: LogSettings) -> None:
        """Go by these settings from now on; a file is opened again, for it may have been moved. Raises
        LogFileUnusable, and then everything is as before."""
        root, old = logging.getLogger(), self._out
        out = self._handler(settings)
        out.setFormatter(TextLines() if settings.is_text else JsonLines())
        self._out = out
        root.handlers[:] = [out, self._tail]
        root.setLevel(settings.level.upper())
        if old is not None and old is not out:
            old.close()

    def _handler(self, settings: LogSettings) -> logging.Handler:
        if settings.file is None:
            return logging.StreamHandler(sys.stderr)
        path = Path(settings.file)
        if isinstance(self._out, LogFile) and self._out.path == path:
            self._out.resize(settings.max_mib, settings.keep)
            self._out.reopen()
            return self._out
        return LogFile(path, settings.max_mib, settings.keep)


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] == "appliance"


def _event(record: logging.LogRecord) -> str:
    """Ours are constant. Of a library's words only the template is: what it fills in, or has filled in
    already, may be what people wrote."""
    if _is_ours(record):
        return record.getMessage()
    return str(record.msg) if record.args else "library_log"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    if not _is_ours(record):
        return {"where": f"{record.filename}:{record.lineno} {record.funcName}"}
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


def _trace(error: BaseException) -> list[str]:
    """Where it happened and what kind of error; its text only where that cannot hold what people wrote."""
    frames = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    text = f": {error}" if isinstance(error, _PLAIN_ERRORS) else ""
    return [*frames, type(error).__name__ + text]
