"""What `doctor` says: one finding for each thing it looked at."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from appliance.config import Config

State = Literal["ok", "warning", "problem"]
MIB = 1024 * 1024


class Finding(msgspec.Struct, frozen=True):
    """`check` is a constant name, `text` a sentence about what is, `advice` what to do about it, empty when
    nothing is to be done."""

    check: str
    state: State
    text: str
    advice: str = ""


class Patient(msgspec.Struct, frozen=True):
    """The gateway that is looked at. `answer` is what it says itself when it runs, else None; `reach` the
    address to try instead of WhatsApp's, None when nothing is to be tried."""

    config: Config
    config_file: Path | None
    answer: dict[str, Any] | None
    now_ms: int
    reach: str | None = None

    @property
    def is_running(self) -> bool:
        return self.answer is not None


def good(check: str, text: str) -> Finding:
    return Finding(check, "ok", text)


def doubtful(check: str, text: str, advice: str) -> Finding:
    return Finding(check, "warning", text, advice)


def bad(check: str, text: str, advice: str) -> Finding:
    return Finding(check, "problem", text, advice)


def mib(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / MIB / 1024:.1f} GiB" if size >= 1024 * MIB else f"{size / MIB:.0f} MiB"
