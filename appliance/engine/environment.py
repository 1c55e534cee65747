"""The environment that the Go library needs: Go reads it as it was when its process was *executed*."""

import os
import sys


def for_go() -> dict[str, str]:
    """The environment for executing a process that will load the library.

    `NEONIZE_BOT_TAG`: by default the library marks every 1:1 message as a business bot's. `GOGC` (the owner's
    own setting counts): a smaller heap for a little more work. Everything else passes through, above all
    `SSL_CERT_FILE` and the proxy variables.
    """
    return {"GOGC": "25", **os.environ, "NEONIZE_BOT_TAG": "off"}


def ensure_environment() -> None:
    """For isolation `inline`, before anything else: execute this program once more, with that environment.

    Returns when it is there already; else it does not return.
    """
    wanted = for_go()
    if wanted != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)  # noqa: S606 (ourselves)
