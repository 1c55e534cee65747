"""What the program writes to its log, read from its source: every event with its levels and its fields."""

import ast
from collections.abc import Iterator
from pathlib import Path

import msgspec

HOUSE = Path(__file__).parents[1] / "appliance"
LEVELS = {name: name for name in ("debug", "info", "warning", "error", "critical")} | {"exception": "error"}
# A worker writes lines for people to a file of its own; so does the library in it.
ELSEWHERE = ("engine/worker/",)


class LogEvent(msgspec.Struct):
    """One name; it may be written in several places."""

    levels: set[str]
    fields: set[str]


def logged() -> dict[str, LogEvent]:
    """Every event by name. Raises AssertionError for one that is not a constant word."""
    found: dict[str, LogEvent] = {}
    for path in sorted(HOUSE.rglob("*.py")):
        if not str(path.relative_to(HOUSE)).startswith(ELSEWHERE):
            for function in _functions(ast.parse(path.read_text("utf-8"))):
                for call in _calls(function):
                    event = found.setdefault(_name(call, path), LogEvent(set(), set()))
                    event.levels.add(LEVELS[_method(call)])
                    event.fields |= _fields(call, function)
    return found


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _calls(function: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id in {"log", "logger"} and _method(node) in LEVELS:
                yield node


def _method(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    return call.func.attr


def _name(call: ast.Call, path: Path) -> str:
    [first, *_] = call.args
    assert isinstance(first, ast.Constant), f"{path.name}:{call.lineno}: the event's name is a constant"
    assert str(first.value).isidentifier(), f"{path.name}:{call.lineno}: {first.value!r} is no single word"
    return str(first.value)


def _fields(call: ast.Call, function: ast.AST) -> set[str]:
    """The keys of `extra`, also when it is put together a line above."""
    given = next((keyword.value for keyword in call.keywords if keyword.arg == "extra"), None)
    if isinstance(given, ast.Name):
        given = next(
            node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == given.id
        )
    if given is None:
        return set()
    return {
        str(key.value)
        for node in ast.walk(given)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
