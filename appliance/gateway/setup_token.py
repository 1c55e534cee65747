"""The setup token: proof that whoever makes the first account can read the gateway's own files."""

import hmac
import secrets
from pathlib import Path

from appliance.gateway.secret_file import write_secret

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
        write_secret(self.path, f"{token}\n".encode())
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
