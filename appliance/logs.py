"""Logs: one JSON object a line on stderr; constant event names, data in fields, never what people write."""

import collections
import json
import logging
import sys
import time
import traceback
from typing import Any, Literal

import msgspec

TAIL_LINES = 200
_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {"message", "taskName"}
# Only these say in their message nothing but what the system or we ourselves put there.
_PLAIN_ERRORS: tuple[type[BaseException], ...] = (OSError, ImportError, MemoryError, AssertionError)


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`level` and above is written; `format` is `json`, `text`, or `auto`: text on a terminal, else json."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"

    @property
    def is_text(self) -> bool:
        return self.format == "text" or (self.format == "auto" and sys.stderr.isatty())


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


def configure(settings: LogSettings) -> LogTail:
    """Send every logger's records to stderr in the chosen form; returns what keeps the newest of them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines() if settings.is_text else JsonLines())
    root = logging.getLogger()
    tail = LogTail()
    root.handlers[:] = [handler, tail]
    root.setLevel(settings.level.upper())
    for chatty in ("aiosqlite", "asyncio", "granian.access", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return tail


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
