"""The setup token: proof that whoever makes the first account can read the gateway's own files."""

import hmac
import os
import secrets
from pathlib import Path

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
_GROUPS, _GROUP_LENGTH = 5, 4


class SetupToken:
    """A word of 99 random bits in a file that only the gateway's user can read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ensure(self) -> str:
        """The token; it is written (mode 0600) unless it is there already."""
        if (present := self._read()) is not None:
            return present
        groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS))
        token = "-".join(groups)
        fresh = self.path.with_name(self.path.name + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token + "\n")
        fresh.replace(self.path)
        return token

    def matches(self, typed: str) -> bool:
        """Whether `typed` is the token; blanks around it, dashes and case do not matter."""
        present = self._read()
        return present is not None and hmac.compare_digest(_plain(present), _plain(typed))

    def void(self) -> None:
        """From now on nothing matches."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> str | None:
        try:
            return self.path.read_text("ascii").strip() or None
        except FileNotFoundError:
            return None


def _plain(token: str) -> bytes:
    return token.strip().lower().replace("-", "").encode()
