"""The worker's own log: its stderr, a bounded file in the device's folder. Numbers are cut to four digits."""

import logging
import os
import re
from pathlib import Path

from appliance.engine.worker.errors import without_numbers
from appliance.engine.worker.protos import NEONIZE

LARGEST_BYTES = 1 << 20

_STANZA = re.compile(r"<.*", re.DOTALL)

_library = logging.getLogger("library")


class BoundedStderr(logging.Handler):
    """Writes lines to file descriptor 2 until a worker has written its share."""

    def __init__(self) -> None:
        super().__init__()
        self._left = LARGEST_BYTES
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        line = (self.format(record) + "\n").encode(errors="replace")
        if len(line) <= self._left:
            self._left -= len(line)
            os.write(2, line)


def open_log(folder: Path) -> None:
    """Point fd 2 at the device's log and fds 0 and 1 at nothing: the library prints secrets to stdout (link
    codes), and a closed stdout would end the process by SIGPIPE."""
    path = folder / "worker.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    if path.exists() and path.stat().st_size > LARGEST_BYTES:
        flags |= os.O_TRUNC
    nothing = os.open(os.devnull, os.O_RDWR)
    file = os.open(path, flags, 0o600)
    for source, target in ((nothing, 0), (nothing, 1), (file, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(file)
    logging.basicConfig(handlers=[BoundedStderr()], level=logging.WARNING, force=True)


def log_library(entry: bytes) -> None:
    """A line of the library's own log (level WARN and above)."""
    line = NEONIZE.LogEntry.FromString(entry)
    level = logging.ERROR if line.Level.upper() == "ERROR" else logging.WARNING
    # When it is interrupted, the library prints the stanza it was at, with the sender's name.
    _library.log(level, "%s: %s", line.Name, without_numbers(_STANZA.sub("<…>", line.Message)))
