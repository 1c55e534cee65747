"""Canaries: words that stand nowhere else, and the search for them in everything that was written."""

import base64
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

LONGER_THAN_SHOWN = 5


def canary(what: str) -> str:
    """A word that stands nowhere else."""
    return f"canary-{what.replace(' ', '-')}-{time.time_ns():x}"


class Cage:
    """The canaries of one run. `secrets` may be in no file at all, `words` in no log."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.words: dict[str, str] = {}

    def secret(self, what: str, value: str | None = None) -> str:
        return self.secrets.setdefault(what, value or canary(what))

    def word(self, what: str, value: str | None = None) -> str:
        return self.words.setdefault(what, value or canary(what))

    def phones(self, *numbers: str) -> None:
        """A number may be shown by its last four digits, not by more."""
        for number in numbers:
            self.words[f"number {number}"] = number[-LONGER_THAN_SHOWN:]


def forms(value: str) -> Iterator[bytes]:
    """How a value may be written: as it is, in hex, in base64 at any offset."""
    plain = value.encode()
    yield plain
    yield plain.hex().encode()
    if len(plain) < 12:
        return
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + plain)
        yield encoded[4 if shift else 0 : -4]


def sightings(canaries: dict[str, str], texts: dict[str, bytes]) -> list[str]:
    """Which canary is in which text."""
    lower = {name: text.lower() for name, text in texts.items()}
    return [
        f"{what} in {name}"
        for what, value in canaries.items()
        for name, text in lower.items()
        if any(form.lower() in text for form in forms(value))
    ]


def files(folders: Iterable[Path]) -> dict[str, bytes]:
    """The content of every file below."""
    found = [path for folder in folders for path in (folder.rglob("*") if folder.is_dir() else [folder])]
    return {str(path): path.read_bytes() for path in found if path.is_file()}
