"""Where a passphrase comes from: a file, the configuration, or the terminal."""

import getpass
import os
import shlex
import stat
import sys
from pathlib import Path

from appliance.operations.asking import Refused, warn

SHORTEST = 8


def given(file: Path | None, configured: str | None, *, new: bool) -> str:
    """The passphrase; a `new` one must not be too short and is asked for twice. White space around it does
    not count. Raises Refused."""
    if file is not None:
        phrase = _from(file)
    elif configured is not None:
        phrase = configured.strip()
    elif sys.stdin.isatty():
        phrase = _asked(new=new)
    else:
        raise Refused(
            "a passphrase is needed and there is no terminal to ask at: say --passphrase-file FILE."
        )
    if not phrase:
        raise Refused("the passphrase is empty.")
    if new and len(phrase) < SHORTEST:
        raise Refused(
            f"the passphrase has fewer than {SHORTEST} letters: whoever finds the file could guess it."
        )
    return phrase


def _from(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            phrase = opened.read().strip()
    except OSError as error:
        raise Refused(f"{file}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Refused(f"{file}: not text in UTF-8.") from None
    # A pipe has no readers but us, whatever its mode says.
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:
        warn(f"everybody on this machine can read {file}: chmod o-r {shlex.quote(str(file))}")
    return phrase


def _asked(*, new: bool) -> str:
    phrase = getpass.getpass("Passphrase: ").strip()
    if new and getpass.getpass("Again: ").strip() != phrase:
        raise Refused("the two are not the same.")
    return phrase
