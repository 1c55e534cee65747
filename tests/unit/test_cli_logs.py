"""`logs`: the end of the log, what follows, and lines as people read them."""

import itertools
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import PROGRAM, until

from appliance.log_file import LogFile
from appliance.logs import JsonLines
from appliance.operations import follow_logs
from appliance.operations.log_lines import readable


def record(number: int, level: int = logging.INFO) -> logging.LogRecord:
    made = logging.LogRecord("appliance.test", level, "", 0, "counted", None, None)
    made.__dict__["n"] = number
    return made


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogFile]:
    """A log that begins a new file every few lines."""
    file = LogFile(tmp_path / "gateway.log", max_mib=0.002, keep=200)
    file.setFormatter(JsonLines())
    yield file
    file.close()


def command(log: LogFile, *more: str) -> list[str]:
    return [*PROGRAM, "logs", f"--set=logs.file={json.dumps(str(log.path))}", *more]


def printed(log: LogFile, *more: str) -> str:
    return subprocess.run(command(log, *more), capture_output=True, text=True, check=True).stdout


def numbers(lines: list[str]) -> list[int]:
    return [int(line.rpartition("n=")[2]) for line in lines]


def test_the_end_is_shown_also_across_files(log: LogFile) -> None:
    for number in range(100):
        log.emit(record(number, logging.WARNING if number % 10 == 0 else logging.INFO))
    log.flush()
    assert log.path.with_name("gateway.log.2").exists()
    shown = printed(log, "--lines=60")
    assert numbers(shown.splitlines()) == list(range(40, 100))
    warned = subprocess.run(
        command(log, "--level=warning"), capture_output=True, text=True, check=True
    ).stdout
    assert numbers(warned.splitlines()) == list(range(0, 100, 10))


def test_following_misses_nothing_when_files_are_renamed(log: LogFile) -> None:
    seen: list[str] = []
    log.emit(record(0))
    log.flush()
    with subprocess.Popen(command(log, "--follow"), stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        reader = threading.Thread(target=lambda: seen.extend(following.stdout or ()))
        reader.start()
        try:
            until("the first line", lambda: len(seen) == 1)
            for number in range(1, 1500):
                log.emit(record(number))
                if number % 100 == 0:
                    log.flush()
                    until("what was written", lambda: len(seen) > number, 30)  # noqa: B023
            log.flush()
            until("the last line", lambda: len(seen) == 1500)
        finally:
            following.terminate()
            reader.join()
    assert numbers([line.rstrip() for line in seen]) == list(range(1500))


def test_a_rename_in_the_middle_of_a_look_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks without a pause while another thread renames every few lines: they meet again and again."""
    monkeypatch.setattr(follow_logs, "_LOOK_S", 0.0)
    file = LogFile(tmp_path / "gateway.log", max_mib=0.0005, keep=200)
    file.setFormatter(JsonLines())
    file.emit(record(0))
    file.flush()

    def write() -> None:
        for number in range(1, 800):
            file.emit(record(number))
            if number % 5 == 0:
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    shown = (json.loads(line)["n"] for line in follow_logs._of_file(file.path, 10, follow=True))
    assert list(itertools.islice(shown, 800)) == list(range(800))
    writer.join()
    file.close()


def test_files_that_are_renamed_twice_within_a_look_are_shown_once(tmp_path: Path) -> None:
    path = tmp_path / "gateway.log"

    def begin(line: str) -> None:
        for number in (3, 2, 1, 0):
            if (older := follow_logs._numbered(path, number)).exists():
                older.replace(follow_logs._numbered(path, number + 1))
        path.write_text(line + "\n")

    def before_open(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and arguments[0] == f"{path}.2" and waiting:
            later, waiting[:] = list(waiting), []
            for line in later:
                begin(line)

    begin("ours")
    with path.open("rb") as ours:
        begin("second")
        begin("third")
        waiting = ["fourth", "fifth"]
        sys.addaudithook(before_open)
        newer, is_whole = follow_logs._begun_since(path, ours)
    assert is_whole
    assert not waiting
    assert [file.read() for file in newer] == [b"second\n", b"third\n"]
    for file in newer:
        file.close()


def test_where_there_is_no_file_it_says_where_the_log_goes() -> None:
    ran = subprocess.run([*PROGRAM, "logs"], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "logs.file" in ran.stderr


def test_a_line_is_read_by_people() -> None:
    at = int(time.mktime((2026, 11, 22, 10, 0, 0, 0, 0, -1)) * 1000)
    line = {"at": at, "level": "error", "logger": "appliance.x", "event": "broke", "device": "c1", "ms": 7}
    shown = readable(json.dumps({**line, "trace": ["x.py:1 f", "OSError: no"]}))
    assert shown is not None
    first, *trace = shown.splitlines()
    assert first == "2026-11-22 10:00:00 error   broke device=c1 ms=7"
    assert trace == ["    x.py:1 f", "    OSError: no"]


@pytest.mark.parametrize(
    ("line", "least", "shown"),
    [
        ("10:00:00 info    ready ms=1", "debug", True),
        ("10:00:00 info    ready ms=1", "warning", False),
        ('{"at":1,"level":"info","event":"ready"}', "error", False),
        ('{"at":1,"level":"error","event":"ready"}', "error", True),
        ("panic: something of somebody else", "error", True),
        ("{not json", "error", True),
        ('{"other": 1}', "error", True),
    ],
)
def test_what_is_below_the_level_is_left_out(line: str, least: str, shown: bool) -> None:
    assert (readable(line, least) is not None) is shown
