"""Where a passphrase comes from: a file, the configuration, or the terminal."""

import getpass
import sys
from pathlib import Path

from appliance.operations.asking import Refused

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
        return file.read_text("utf-8").strip()
    except OSError as error:
        raise Refused(f"{file}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Refused(f"{file}: not text in UTF-8.") from None


def _asked(*, new: bool) -> str:
    phrase = getpass.getpass("Passphrase: ").strip()
    if new and getpass.getpass("Again: ").strip() != phrase:
        raise Refused("the two are not the same.")
    return phrase
