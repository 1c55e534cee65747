"""The command line, run as its own process as people run it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

LIMIT_S = 120.0


def begun(*arguments: Any, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """The command, running; it has no terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "appliance", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its exit code, what it said, and what it said of trouble and progress."""
    out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out, err


def done(*arguments: Any, environment: Mapping[str, str] | None = None) -> str:
    """What a command that must succeed said."""
    code, out, err = ended(begun(*arguments, environment=environment))
    assert code == 0, f"{arguments}: {code}\n{out}\n{err}"
    return out


def refused(*arguments: Any, environment: Mapping[str, str] | None = None) -> str:
    """Why a command that must not succeed did not: its last line."""
    code, out, err = ended(begun(*arguments, environment=environment))
    assert (code, out) == (1, ""), f"{arguments}: {code}\n{out}\n{err}"
    return err.splitlines()[-1]
