"""Lines of the log as people read them."""

import json
import re
import time
from typing import Any

LEVELS = ("debug", "info", "warning", "error", "critical")
_TEXT = re.compile(r"\d\d:\d\d:\d\d (\w+)")


def readable(line: str, least: str = "debug") -> str | None:
    """The line, a JSON object or text already, for people; None when it is below the level `least`. What is
    no line of ours stays as it is."""
    line = line.rstrip("\n")
    if not line.startswith("{"):
        found = _TEXT.match(line)
        return line if found is None or _counts(found[1], least) else None
    try:
        told = json.loads(line)
    except ValueError:
        return line
    if not isinstance(told, dict) or not {"at", "level", "event"} <= told.keys():
        return line
    return _written(told) if _counts(str(told["level"]), least) else None


def _counts(level: str, least: str) -> bool:
    return level not in LEVELS or LEVELS.index(level) >= LEVELS.index(least)


def _written(told: dict[str, Any]) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(told.pop("at") / 1000))
    level, event, trace = told.pop("level"), told.pop("event"), told.pop("trace", [])
    told.pop("logger", None)
    fields = "".join(f" {name}={_value(value)}" for name, value in told.items())
    return "\n".join([f"{at} {level:7} {event}{fields}", *(f"    {entry}" for entry in trace)])


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
