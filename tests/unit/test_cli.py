"""The command line as a whole: what the manual says of it is so, and it ends well."""

import argparse
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import PROGRAM, until

from appliance import cli

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
        until("a command that reads", lambda: _reads_stdin(waiting.pid), 30)
        waiting.send_signal(signal.SIGINT)
        _, told = waiting.communicate(timeout=30)
    assert (waiting.returncode, told) == (130, "wa-gateway: interrupted.\n")


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
        assert (logs.wait(30), logs.stderr.read()) == (0, "")
