"""The log in a file of its own: lines are written by a thread, so that nobody waits for the disk; the file is
renamed when it is full; a disk that refuses costs lines, never the process."""

import collections
import contextlib
import logging
import os
import threading
from pathlib import Path

from appliance.model.told import Told

MIB = 1024 * 1024
MOST_WAITING = 10_000
FLUSH_S = 2.0
PAUSE_S = 1.0


class LogFileUnusable(Told):
    """The file cannot be opened; the message names the setting, the file and the reason."""


class LogFile(logging.Handler):
    """Appends lines to `path` (mode 0600); at `most` bytes it becomes `path`.1, and so on up to `keep`.

    Raises LogFileUnusable when it cannot be opened now. Later trouble is waited out: how many lines were lost
    is written once there is room again.
    """

    def __init__(self, path: Path, max_mib: float, keep: int) -> None:
        super().__init__()
        self.path = path
        self._next = path.with_name(f"{path.name}.new")
        self._waiting: collections.deque[str] = collections.deque()
        self._lost = 0
        self._is_writing = self._is_over = self._reopen_wanted = False
        self._changed = threading.Condition()
        self.resize(max_mib, keep)
        try:
            self._file = _opened(path)
        except OSError as error:
            raise LogFileUnusable(f"logs.file: {path}: {error.strerror}.") from None
        self._size = os.fstat(self._file).st_size
        self._begins_line = True
        self._thread = threading.Thread(target=self._run, name="log-file", daemon=True)
        self._thread.start()

    def resize(self, max_mib: float, keep: int) -> None:
        """Rename at another size from now on, and keep another number of files."""
        self._most = int(max_mib * MIB)
        self._keep = keep

    def reopen(self) -> None:
        """Somebody may have moved the file away: go on in one of that name."""
        with self._changed:
            self._reopen_wanted = True
            self._changed.notify_all()

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        with self._changed:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(line)
            else:
                self._lost += 1
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until every line so far is written or lost, at most FLUSH_S."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._is_writing, FLUSH_S)

    def close(self) -> None:
        self.flush()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self._thread.join(FLUSH_S)
        super().close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._reopen_wanted or self._is_over)
                if self._is_over and not self._waiting:
                    break
                lines, lost, reopen = list(self._waiting), self._lost, self._reopen_wanted
                self._waiting.clear()
                self._is_writing, self._reopen_wanted, self._lost = True, False, 0
            if not self._write_all(lines, lost, reopen=reopen):
                self._pause()
        with contextlib.suppress(OSError):
            os.close(self._file)

    def _write_all(self, lines: list[str], lost: int, *, reopen: bool) -> bool:
        """Whether the disk took them, and first how many were lost before."""
        try:
            if reopen:
                self._go_on_in(_opened(self.path))
            if lost:
                self._write(self._losses(lost))
                lost = 0
            while lines:
                self._write(lines[0])
                del lines[0]
        except OSError:
            with self._changed:
                self._lost += lost + len(lines)
            return False
        return True

    def _losses(self, lost: int) -> str:
        record = logging.LogRecord(__name__, logging.ERROR, "", 0, "log_lines_lost", None, None)
        record.__dict__["lines"] = lost
        return self.format(record)

    def _write(self, line: str) -> None:
        content = line.encode("utf-8", "backslashreplace") + b"\n"
        if not self._begins_line:
            content = b"\n" + content
        if self._size and self._size + len(content) > self._most:
            self._rename()
        written = os.write(self._file, content)
        self._size += written
        self._begins_line = written == len(content)
        if not self._begins_line:
            raise OSError("the disk took a part of a line")

    def _rename(self) -> None:
        """Begin a new file; where that is not possible, the old one goes on."""
        with contextlib.suppress(OSError):
            # First of all: were it opened last, and in vain, each further line would push an older log out.
            fresh = _opened(self._next)
            try:
                self._shift()
                self._next.replace(self.path)
            except BaseException:
                os.close(fresh)
                raise
            self._go_on_in(fresh)
            # Those of a time when more were kept.
            number = self._keep + 1
            while (left := _numbered(self.path, number)).exists():
                left.unlink()
                number += 1

    def _shift(self) -> None:
        """What is there gets the next higher number. Where the newest has no name it had its turn before."""
        if not self.path.exists():
            return
        for number in range(self._keep, 0, -1):
            older = _numbered(self.path, number - 1)
            if older.exists():
                older.replace(_numbered(self.path, number))

    def _go_on_in(self, fresh: int) -> None:
        os.close(self._file)
        self._file = fresh
        self._size = os.fstat(fresh).st_size
        self._begins_line = True

    def _pause(self) -> None:
        """Not to turn in circles while the disk refuses."""
        with self._changed:
            self._is_writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_over, PAUSE_S)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
