"""The command line as a whole: what the manual says of it is so, and it ends well."""

import argparse
import io
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from patience import PATIENCE_S
from running import PROGRAM, until

from appliance import __version__, cli
from appliance.config import load
from appliance.operations.archive import ArchiveWriter
from appliance.operations.contents import Note
from appliance.operations.sealed_file import PIECE, SealedWriter

DOCS = Path(__file__).resolve().parents[2] / "web" / "docs"
COMMON = {"--config", "--data-dir", "--set"}
_HEADING = re.compile(r"^#{1,3} (.+)$", re.MULTILINE)
_ROW = re.compile(r"^\| `(--[a-z-]+)([^`]*)` \|", re.MULTILINE)


def commands(
    parser: argparse.ArgumentParser, before: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command by its full name, those with commands of their own too."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield before + name, inner
                yield from commands(inner, f"{before}{name} ")


def options(parser: argparse.ArgumentParser) -> set[str]:
    """The options of a command with what they take, as the manual writes them."""
    return {
        f"{action.option_strings[-1]} {_taken(action)}".rstrip()
        for action in parser._actions
        if action.option_strings and action.option_strings[-1] not in COMMON | {"--help"}
    }


def _taken(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    return str(action.metavar or action.dest.upper())


COMMANDS = dict(commands(cli.parser()))


def sections(language: str) -> dict[str, str]:
    _, *pieces = _HEADING.split((DOCS / language / "commands.md").read_text("utf-8"))
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


@pytest.mark.parametrize("language", ["en", "id"])
def test_the_manual_has_every_command_and_no_other(language: str) -> None:
    first, *named = sections(language)
    assert sorted(named) == sorted(COMMANDS)
    told = {name for name, _ in _ROW.findall(sections(language)[first])}
    assert told == COMMON


@pytest.mark.parametrize("language", ["en", "id"])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_manual_has_every_option_and_no_other(language: str, name: str) -> None:
    told = {option + taken for option, taken in _ROW.findall(sections(language)[name])}
    assert told == options(COMMANDS[name])


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "user"])
def test_help_is_a_sentence_and_every_option_has_words(name: str) -> None:
    assert (COMMANDS[name].description or "").endswith(".")
    assert all(action.help for action in COMMANDS[name]._actions), name


def test_what_needs_nothing_reads_in_nothing() -> None:
    """A command that takes a second before it says anything is no pleasure."""
    code = "import sys; from appliance.cli import main; main(['version']); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(shown.split())
    assert not loaded & {"litestar", "msgspec", "aiohttp", "asyncio", "appliance.config", "appliance.house"}


def test_asking_the_running_gateway_does_not_read_in_the_house() -> None:
    code = "import sys; import appliance.operations.users; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not set(shown.split()) & {"litestar", "granian", "appliance.house"}


def test_wrong_usage_ends_with_2(tmp_path: Path) -> None:
    for wrong in (["nothing"], ["export"], ["logs", "--lines=many"], ["doctor", "--set", "nonsense"]):
        ran = subprocess.run(
            [*PROGRAM, *wrong, "--data-dir", str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert "Traceback" not in ran.stderr
        assert ran.returncode in {1, 2}, wrong


def test_ctrl_c_ends_in_one_line(tmp_path: Path) -> None:
    """A command that waits (here for a password that nobody types) is ended without a word too many."""
    command = [*PROGRAM, "user", "create", "--email=a@example.test", "--password-stdin"]
    with subprocess.Popen(
        [*command, f"--data-dir={tmp_path}"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        until("a command that reads", lambda: _reads_stdin(waiting.pid))
        waiting.send_signal(signal.SIGINT)
        _, told = waiting.communicate(timeout=PATIENCE_S)
    assert (waiting.returncode, told) == (130, "wa-gateway: interrupted.\n")


def ran(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, *words]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S, check=False, **more)


@pytest.mark.parametrize("words", [["version"], ["--version"]])
def test_it_says_its_version(words: list[str]) -> None:
    ended = ran(*words, stdout=subprocess.PIPE)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"wa-gateway {__version__}\n", "")


@pytest.mark.parametrize("words", [["version"], ["--version"], ["check-config"]])
def test_an_output_that_cannot_be_written_is_told(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = ran(*words, stdout=full)
    assert (ended.returncode, ended.stderr) == (1, "wa-gateway: the output: No space left on device.\n")


def test_closed_descriptors_are_no_reason_to_break(tmp_path: Path) -> None:
    command = f"exec {shlex.join([*PROGRAM, 'backup', 'file', f'--data-dir={tmp_path}'])} <&- >&-"
    ended = subprocess.run(
        ["sh", "-c", command], stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S, check=False
    )
    assert ended.returncode == 1
    assert "there is no terminal to ask at" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_the_terminal_cannot_show_is_written_otherwise() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = ran("check-config", "--set", "server.host=0.0.0.0", stdout=subprocess.PIPE, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("The configuration is good.\n")


@pytest.mark.parametrize("words", [["user", "delete", "a@example.test"], ["backup", "file"]])
def test_who_types_an_end_where_an_answer_is_wanted_is_understood(words: list[str], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, *words, f"--data-dir={tmp_path}"], stdin=theirs, stderr=subprocess.PIPE, text=True
    ) as asking:
        os.close(theirs)
        until("a question", lambda: _reads_stdin(asking.pid))
        os.write(ours, b"\x04")
        _, told = asking.communicate(timeout=PATIENCE_S)
    os.close(ours)
    assert asking.returncode == 1
    assert told.endswith("wa-gateway: nothing was typed, so nothing was done.\n")
    assert "Traceback" not in told


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_command_that_is_told_to_end_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """As by a shutdown, or a connection that breaks, in the middle of a restore."""
    data, pipe, phrase = tmp_path / "data", tmp_path / "pipe", tmp_path / "phrase"
    phrase.write_text("correct horse battery")
    os.mkfifo(pipe)
    words = ["restore", str(pipe), f"--data-dir={data}", f"--passphrase-file={phrase}"]
    with subprocess.Popen([*PROGRAM, *words], stderr=subprocess.PIPE, text=True) as restoring:
        with pipe.open("wb") as out:
            sealed = SealedWriter(out, "correct horse battery")
            archive = ArchiveWriter(sealed, io.BytesIO())
            note = msgspec.json.encode(Note(1, "0.1.0", 1, 0, 1))
            archive.add("note.json", io.BytesIO(note), len(note), lambda _: None)
            archive.add("gateway.db", io.BytesIO(bytes(4 * PIECE)), 4 * PIECE, lambda _: None)
            out.flush()
            until("a draft", lambda: (data / "restore.draft" / "gateway.db").exists())
            restoring.send_signal(number)
            restoring.wait(PATIENCE_S)
        told = restoring.communicate()[1]
    assert (restoring.returncode, told.splitlines()[-1]) == (code, "wa-gateway: interrupted.")
    assert not data.exists()


@pytest.mark.parametrize("name", ["it's", 'a "b"', "c\\d", "e#f", "dæta dir", "a\u200bb", "2027", "[x]"])
def test_a_directory_may_have_any_name(name: str) -> None:
    options = cli.parser().parse_args(["check-config", f"--data-dir={name}"])
    assert load(None, {}, cli.overrides(options)).data == Path(name)


def _reads_stdin(pid: int) -> bool:
    """Whether the process sleeps in a read of its descriptor 0 (proc(5))."""
    try:
        call = Path(f"/proc/{pid}/syscall").read_text("ascii").split()
    except OSError:
        return False
    read = {"x86_64": "0", "aarch64": "63"}[os.uname().machine]
    return call[:2] == [read, "0x0"]


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "gateway.log"
    file.write_text("a line that is long enough to fill a pipe soon\n" * 20_000)
    with subprocess.Popen(
        [*PROGRAM, "logs", f"--set=logs.file={str(file)!r}", "--lines=20000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as logs:
        assert logs.stdout is not None
        assert logs.stderr is not None
        logs.stdout.readline()
        logs.stdout.close()
        assert (logs.wait(PATIENCE_S), logs.stderr.read()) == (0, "")
