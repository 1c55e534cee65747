"""The log in a file: whole lines, renamed in time, opened again, and never in the way of the process."""

import json
import logging
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S
from running import until

from appliance.log_file import LogFile, LogFileUnusable
from appliance.logs import JsonLines, Logs, LogSettings


def record(event: str) -> logging.LogRecord:
    return logging.LogRecord("appliance.test", logging.INFO, "", 0, event, None, None)


@pytest.fixture
def opened() -> Iterator[Callable[..., LogFile]]:
    made: list[LogFile] = []

    def log_file(path: Path, max_mib: float = 1, keep: int = 2) -> LogFile:
        file = LogFile(path, max_mib, keep)
        file.setFormatter(JsonLines())
        made.append(file)
        return file

    yield log_file
    for file in made:
        file.close()


def events(*paths: Path) -> list[str]:
    return [json.loads(line)["event"] for path in paths for line in path.read_text().splitlines()]


def test_lines_are_appended_for_the_owner_alone(tmp_path: Path, opened: Callable[..., LogFile]) -> None:
    path = tmp_path / "x.log"
    for names in (["a", "b"], ["c"]):
        file = opened(path)
        for name in names:
            file.emit(record(name))
        file.close()
    assert events(path) == ["a", "b", "c"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_file_is_renamed_and_the_oldest_goes(tmp_path: Path, opened: Callable[..., LogFile]) -> None:
    path = tmp_path / "x.log"
    file = opened(path, max_mib=1000 / 1024 / 1024, keep=2)
    for number in range(60):
        file.emit(record(f"event_{number:02}"))
    file.flush()
    names = ["x.log.2", "x.log.1", "x.log"]
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(names)
    kept = events(*(tmp_path / name for name in names))
    assert kept == [f"event_{number:02}" for number in range(60 - len(kept), 60)]
    assert all((tmp_path / name).stat().st_size <= 1000 for name in names)


def test_fewer_are_kept_when_the_settings_say_so(tmp_path: Path, opened: Callable[..., LogFile]) -> None:
    path = tmp_path / "x.log"
    file = opened(path, max_mib=0.0001, keep=5)
    for n in range(12):
        file.emit(record(f"e{n}"))
    file.flush()
    assert len(list(tmp_path.iterdir())) == 6
    file.resize(0.0001, 2)
    for n in range(12, 15):
        file.emit(record(f"e{n}"))
    file.flush()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x.log", "x.log.1", "x.log.2"]


def test_without_any_kept_the_file_begins_anew(tmp_path: Path, opened: Callable[..., LogFile]) -> None:
    file = opened(tmp_path / "x.log", max_mib=1000 / 1024 / 1024, keep=0)
    for number in range(60):
        file.emit(record(f"event_{number:02}"))
    file.flush()
    assert [each.name for each in tmp_path.iterdir()] == ["x.log"]
    assert events(tmp_path / "x.log")[-1] == "event_59"


def test_a_file_that_was_moved_is_begun_again(tmp_path: Path, opened: Callable[..., LogFile]) -> None:
    path = tmp_path / "x.log"
    file = opened(path)
    file.emit(record("before"))
    file.flush()
    path.rename(tmp_path / "moved")
    file.reopen()
    file.emit(record("after"))
    file.flush()
    assert (events(tmp_path / "moved"), events(path)) == (["before"], ["after"])


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogFileUnusable, match=r"logs\.file: .*none/x\.log: No such file or directory"):
        LogFile(tmp_path / "none" / "x.log", 1, 1)


FULL_DISK = """
import logging, resource, signal, sys
from pathlib import Path
from appliance.log_file import LogFile
from appliance.logs import JsonLines

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
file = LogFile(Path(sys.argv[1]), 1, 1)
file.setFormatter(JsonLines())
for number in range(40):
    file.emit(logging.LogRecord("appliance.test", logging.INFO, "", 0, f"e{number}", None, None))
    if number in (30, 39):
        file.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
while True:
    file.emit(logging.LogRecord("appliance.test", logging.INFO, "", 0, "again", None, None))
    file.flush()
    if "again" in Path(sys.argv[1]).read_text():
        break
file.close()
"""


def test_a_disk_that_refuses_costs_lines_and_says_how_many(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = path.read_text().splitlines()
    told = [json.loads(line) for line in lines if line.endswith("}")]
    [lost] = [line["lines"] for line in told if line["event"] == "log_lines_lost"]
    written = [line["event"] for line in told if line["event"].startswith("e")]
    assert len(written) + lost == 40
    assert told[-1]["event"] == "again"


NO_DESCRIPTORS = """
import logging, os, sys
from pathlib import Path
from appliance.log_file import LogFile
from appliance.logs import JsonLines

path, keep = Path(sys.argv[1]), int(sys.argv[2])
file = LogFile(path, 0.0001, keep)
file.setFormatter(JsonLines())

def write(*events):
    for event in events:
        file.emit(logging.LogRecord("appliance.test", logging.INFO, "", 0, event, None, None))
    file.flush()

write(*(f"e{number}" for number in range(5)))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    write(*(f"while_there_are_none_{number}" for number in range(9)))
for each in taken:
    os.close(each)
write("again")
file.close()
"""


@pytest.mark.parametrize("keep", [0, 3])
def test_no_descriptor_for_a_new_file_costs_no_older_one(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x.log"
    done = subprocess.run(
        [sys.executable, "-c", NO_DESCRIPTORS, path, str(keep)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    )
    assert (done.returncode, done.stderr) == (0, "")
    files = [tmp_path / f"x.log.{number}" for number in range(keep, 0, -1)]
    assert sorted(tmp_path.iterdir()) == sorted([path, *files])
    if keep:
        meanwhile = [f"while_there_are_none_{number}" for number in range(9)]
        assert events(*files, path) == ["e2", "e3", "e4", *meanwhile, "again"]
    else:
        assert events(path) == ["again"]


def test_who_writes_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    """The file is a pipe that nobody reads: the disk at its slowest."""
    path = tmp_path / "x.log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(path, 1, 1)
    file.setFormatter(JsonLines())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20_000):
        file.emit(record("a_line_that_is_written_while_the_disk_hangs"))
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 40_000
    os.close(reader)
    file.close()


def test_the_settings_send_lines_to_a_file_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    path = tmp_path / "x.log"
    try:
        logs = Logs(LogSettings(file=str(path)))
        logging.getLogger("appliance.test").info("in_the_file")
        with pytest.raises(LogFileUnusable):
            logs.use(LogSettings(file=str(tmp_path / "none" / "x.log"), level="error"))
        logging.getLogger("appliance.test").info("still_in_the_file")
        until("lines", lambda: path.read_text().count("\n") == 2)
        logs.use(LogSettings())
        logging.getLogger("appliance.test").info("on_stderr")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    assert events(path) == ["in_the_file", "still_in_the_file"]
    assert "on_stderr" in capsys.readouterr().err
    assert [line.rpartition(" ")[2] for line in logs.lines()] == [
        "in_the_file",
        "still_in_the_file",
        "on_stderr",
    ]
