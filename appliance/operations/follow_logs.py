"""`logs`: the end of the log, and what is written from then on."""

import argparse
import collections
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from appliance.config import Config
from appliance.model.told import refused_by_system
from appliance.operations.asking import refuse
from appliance.operations.log_lines import readable

UNIT = "wa-gateway.service"
_LOOK_S = 0.2
_TRIES, _MOMENT_S = 20, 0.01


def run(config: Config, options: argparse.Namespace) -> int:
    """Print the log's end, and go on with `--follow`; returns the exit code."""
    if config.logs.file is not None:
        lines = _of_file(Path(config.logs.file), options.lines, follow=options.follow)
    elif _is_journaled():
        lines = _of_journal(options.lines, follow=options.follow)
    else:
        return refuse(
            "this gateway writes its log to the terminal that started it (or where that sends stderr). "
            "Set logs.file to keep it in a file."
        )
    # Whoever follows a log ends it with Ctrl+C: that is no failure.
    with contextlib.suppress(KeyboardInterrupt):
        return _print(lines, options.level)
    return 0


def _print(lines: Iterable[str], least: str) -> int:
    try:
        for line in lines:
            if (shown := readable(line, least)) is not None:
                print(shown, flush=True)  # noqa: T201
    except BrokenPipeError:
        raise
    except FileNotFoundError as error:
        return refuse(f"{error.filename}: nothing has been written there yet.")
    except OSError as error:
        return refuse(refused_by_system(error, "the log"))
    return 0


def _of_file(path: Path, count: int, *, follow: bool) -> Iterator[str]:
    file = _opened(path)
    try:
        have = collections.deque(_whole_lines(file), count)
        yield from _earlier(path, file, count - len(have))
        yield from have
        while follow:
            yield from _whole_lines(file)
            for newer in _newer_than(path, file):
                yield from _whole_lines(file)
                file.close()
                file = newer
                yield from _whole_lines(file)
            time.sleep(_LOOK_S)
    finally:
        file.close()


def _opened(path: Path) -> IO[bytes]:
    """The newest file. In the moment of a renaming none has its name. Raises OSError."""
    for _ in range(_TRIES):
        try:
            return path.open("rb")
        except FileNotFoundError:
            if not _numbered(path, 1).exists():
                raise
            time.sleep(_MOMENT_S)
    return path.open("rb")


def _earlier(path: Path, file: IO[bytes], count: int) -> list[str]:
    """The last `count` lines of the files before `file`, as far as there are any."""
    ours, found, number = os.fstat(file.fileno()), list[str](), 1
    while len(found) < count and (older := _numbered(path, number)).exists():
        with older.open("rb") as opened:
            if os.path.samestat(os.fstat(opened.fileno()), ours):
                found = []  # renamed just now, and what was read of others comes after it
            else:
                found = [*collections.deque(_whole_lines(opened), count - len(found)), *found]
        number += 1
    return found


def _whole_lines(file: IO[bytes]) -> Iterator[str]:
    """The lines there are from here on; one that is still being written is left for later."""
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        yield line.decode("utf-8", "replace")


def _newer_than(path: Path, file: IO[bytes]) -> list[IO[bytes]]:
    """The files begun since `file` was, oldest first: it may have been renamed, more than once."""
    for _ in range(_TRIES):
        newer, is_whole = _begun_since(path, file)
        if is_whole:
            return newer
        for each in newer:
            each.close()
        time.sleep(_MOMENT_S)
    # It was deleted, or moved to another name: what stands there now is what there is.
    with contextlib.suppress(FileNotFoundError):
        return [_opened(path)]
    return []


def _begun_since(path: Path, file: IO[bytes]) -> tuple[list[IO[bytes]], bool]:
    """The files up to `file`, and whether it was found: they may be renamed while they are opened here."""
    ours = os.fstat(file.fileno())
    newer: list[IO[bytes]] = []
    number = missing = 0
    # One may be missing because it is being renamed just now.
    while missing < 2:
        try:
            opened = _numbered(path, number).open("rb")
        except FileNotFoundError:
            missing += 1
        else:
            missing, found = 0, os.fstat(opened.fileno())
            if os.path.samestat(found, ours):
                opened.close()
                return newer, True
            if any(os.path.samestat(found, os.fstat(each.fileno())) for each in newer):
                opened.close()  # renamed since, perhaps more than once
            else:
                newer.insert(0, opened)
        number += 1
    return newer, False


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path


def _is_journaled() -> bool:
    return shutil.which("journalctl") is not None and any(
        Path(place, UNIT).exists() for place in ("/etc/systemd/system", "/usr/lib/systemd/system")
    )


def _of_journal(count: int, *, follow: bool) -> Iterator[str]:
    command = ["journalctl", f"--unit={UNIT}", "--output=cat", "--no-pager", f"--lines={count}"]
    if follow:
        command.append("--follow")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as journal:  # noqa: S603
        try:
            yield from journal.stdout or ()
        finally:
            # Whoever wants no more lines need not wait for the next one.
            journal.terminate()
