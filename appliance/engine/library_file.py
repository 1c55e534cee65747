"""The Go library as a file: where it lies, and whether it is byte for byte the one this program was written
for."""

import hashlib
import importlib.util
import platform
import threading
from pathlib import Path
from typing import Self

VERSION = "0.5.2"

_FILES = {
    "x86_64": (
        "neonize-linux-amd64.so",
        "56b0636515068e8f8383e5448b6cfd2516ea923fa6c68ce4a2e516da96ec405d",
    ),
    "aarch64": (
        "neonize-linux-arm64.so",
        "25ea97e7c7933396a655e00a716f79da9095500cfb1cac053cb3addd82bd453c",
    ),
}


class LibraryError(RuntimeError):
    """The Go library is missing, damaged, or another one than this program was written for."""


class LibraryFile:
    """One architecture's library. `sha256` is the sum it must have, in lower-case hex."""

    def __init__(self, path: Path, sha256: str) -> None:
        self.path = path
        self.sha256 = sha256
        self._was_good = False
        self._one_at_a_time = threading.Lock()

    @classmethod
    def here(cls) -> Self:
        """This machine's library. Raises LibraryError when there is none."""
        machine = platform.machine()
        if machine not in _FILES:
            raise LibraryError(f"there is no WhatsApp library for {machine}")
        name, sha256 = _FILES[machine]
        spec = importlib.util.find_spec("neonize")
        if spec is None or not spec.submodule_search_locations:
            raise LibraryError("neonize is not installed")
        return cls(Path(next(iter(spec.submodule_search_locations))) / name, sha256)

    def check(self) -> None:
        """Read the whole file (18 MB, 20 ms). Raises LibraryError when its sum is not the one expected."""
        try:
            with self.path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise LibraryError(f"{self.path.name}: {error.strerror}") from None
        if found != self.sha256:
            raise LibraryError(f"{self.path.name} is damaged: its SHA-256 is {found}, not {self.sha256}")

    def check_once(self) -> None:
        """The same, for any thread; a file that was good is not read again in this process's life."""
        with self._one_at_a_time:
            if not self._was_good:
                self.check()
                self._was_good = True
