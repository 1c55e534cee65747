"""Logs: their form, and that no line can hold what people write."""

import ast
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.engine.worker.log import log_library
from appliance.engine.worker.protos import NEONIZE
from appliance.logs import JsonLines, Logs, LogSettings, TextLines

APPLIANCE = Path(__file__).resolve().parents[2] / "appliance"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
EVENT = re.compile(r"[a-z]+(_[a-z]+)*\Z")
HARMLESS = frozenset(
    """
    after_ms after_s ahead_s applied backup ballast_bytes bytes changes code copy cut days deleted
    deliveries delivery_no device endpoint_id errno error events exit_code fault files for_s
    from_mib handler index kind last last_stop library loop made_due messages mib ms path phase pid reason
    request_id requests results road rows schema seq set_aside signal trouble type url waiting what
    """.split()  # noqa: SIM905 (fifty lines of one word each say no more)
)
"""The fields that lines may have. A new one belongs here when it cannot hold a text, a name, a number, a
JID, a key, a secret or a body."""


def record(event: str, *args: object, name: str = "appliance.test", **extra: object) -> logging.LogRecord:
    made = logging.getLogger(name).makeRecord(name, logging.WARNING, "file.py", 7, event, args, None, "f")
    made.__dict__.update(extra)
    return made


def failed(error: BaseException) -> logging.LogRecord:
    """A record of that error, raised from another one."""
    made = record("broke")
    try:
        try:
            raise ValueError("what Ann wrote")
        except ValueError as cause:
            raise error from cause
    except BaseException as raised:  # noqa: BLE001
        made.exc_info = (type(raised), raised, raised.__traceback__)
    return made


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:], logger.level = handlers, level


def test_a_line_is_one_json_object() -> None:
    line = JsonLines().format(record("worker_killed", pid=7, path=Path("/x\ny"), name_="ü"))
    assert "\n" not in line
    told = json.loads(line)
    assert abs(told.pop("at") - logging.LogRecord("", 0, "", 0, "", None, None).created * 1000) < 60_000
    assert told == {
        "level": "warning",
        "logger": "appliance.test",
        "event": "worker_killed",
        "pid": 7,
        "path": "/x\ny",
        "name_": "ü",
    }


def test_a_line_for_people() -> None:
    assert TextLines().format(record("stopped")).endswith(" warning stopped")
    assert TextLines().format(record("worker_killed", pid=7)).endswith(" warning worker_killed pid=7")
    traced = TextLines().format(failed(KeyError("x"))).splitlines()
    assert traced[0].endswith(" warning broke")
    assert traced[-1] == "    KeyError"


@pytest.mark.parametrize("lines", [JsonLines(), TextLines()])
@pytest.mark.parametrize(
    "error", [KeyError("what Ann wrote"), RuntimeError("what Ann wrote"), UnicodeError("what Ann wrote")]
)
def test_a_trace_says_where_and_what_kind_but_not_the_text(
    lines: logging.Formatter, error: Exception
) -> None:
    line = lines.format(failed(error))
    assert type(error).__name__ in line
    assert "test_logs.py" in line
    assert "Ann" not in line


def test_a_trace_says_what_the_system_said() -> None:
    assert "OSError: [Errno 28] No space left" in JsonLines().format(failed(OSError(28, "No space left")))


@pytest.mark.parametrize("lines", [JsonLines(), TextLines()])
def test_of_a_librarys_words_only_the_template_is_written(lines: logging.Formatter) -> None:
    filled = "Task exception was never retrieved\nfuture: <Task exception=KeyError('what Ann wrote')>"
    for line in (
        lines.format(record(filled, name="asyncio")),
        lines.format(record("callback %r failed", "what Ann wrote", name="aiohttp.server")),
        lines.format(record("x", name="another", body="what Ann wrote")),
    ):
        assert "Ann" not in line
        assert "file.py:7 f" in line
    assert "callback %r failed" in lines.format(record("callback %r failed", "x", name="aiohttp.server"))


@pytest.mark.parametrize(
    ("settings", "begins"), [(LogSettings(), "{"), (LogSettings(level="debug", format="text"), "")]
)
def test_the_settings_choose_level_and_form(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], settings: LogSettings, begins: str
) -> None:
    Logs(settings)
    log = logging.getLogger("appliance.test")
    log.debug("quiet")
    log.error("loud")
    logging.getLogger("aiosqlite").info("every statement")
    written = capsys.readouterr()
    assert written.out == ""
    assert ("quiet" in written.err) == (settings.level == "debug")
    assert "loud" in written.err
    assert "statement" not in written.err
    assert "library_log" not in written.err
    assert written.err.startswith(begins)


def calls(folder: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger below the folder, with where it stands."""
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and ast.unparse(node.func.value) in {"log", "_library"}
            ):
                yield f"{file.relative_to(APPLIANCE)}:{node.lineno}", node


def in_worker(where: str) -> bool:
    """The workers' own logs are files of plain lines, next to the device's session."""
    return where.startswith("engine/worker/")


def test_event_names_are_constant_and_fields_harmless() -> None:
    found = [(where, call) for where, call in calls(APPLIANCE) if not in_worker(where)]
    assert len(found) > 30
    for where, call in found:
        [event] = call.args
        assert isinstance(event, ast.Constant), f"{where}: an event's name is constant"
        assert isinstance(event.value, str), where
        assert EVENT.match(event.value), f"{where}: {event.value}"
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        assert given.keys() <= {"extra", "exc_info"}, where
        extra = given.get("extra")
        if isinstance(extra, ast.Dict):
            names = {ast.literal_eval(key) for key in extra.keys if key is not None}
            assert names <= HARMLESS, f"{where}: {names - HARMLESS}"


def test_fields_that_are_put_together_elsewhere_are_harmless_too() -> None:
    source = (APPLIANCE / "api" / "problems.py").read_text("utf-8")
    assert re.findall(r"extra = (\{.*\})", source) == [
        '{"request_id": request.scope["state"]["request_id"], "handler": _handler_name(request)}'
    ]
    loose = [where for where, call in calls(APPLIANCE) for k in call.keywords if _is_loose(k)]
    assert [where.partition(":")[0] for where in loose] == ["api/problems.py"]


def _is_loose(keyword: ast.keyword) -> bool:
    return keyword.arg == "extra" and not isinstance(keyword.value, ast.Dict)


def test_a_workers_lines_hold_kinds_and_counts() -> None:
    found = [(where, call) for where, call in calls(APPLIANCE) if in_worker(where)]
    assert found
    for where, call in found:
        template, *args = call.args[1:] if ast.unparse(call.func).endswith(".log") else call.args
        assert isinstance(template, ast.Constant), where
        for arg in args:
            said = ast.unparse(arg)
            assert said in {"code", "line.Name", "error.strerror"} or re.match(
                r"(type\(\w+\)\.__name__|len\(|without_numbers\()", said
            ), f"{where}: {said}"


def test_the_library_may_not_print_stanzas(caplog: pytest.LogCaptureFixture) -> None:
    stanza = '<message from="628111222333@lid" notify="Ann"><enc>6869</enc></message>'
    said = f"Closing handler queue loop in the middle of handling {stanza}\n{stanza}"
    log_library(NEONIZE.LogEntry(Message=said, Level="WARN", Name="Client").SerializeToString())
    [line] = caplog.messages
    assert line == "Client: Closing handler queue loop in the middle of handling <…>"
