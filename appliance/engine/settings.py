"""The engine's section of the configuration."""

from typing import Literal

import msgspec


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`isolation`: one child process per device, or everything in the main process (one real device at
    most). `proxy`: the way out for devices without their own (http, https or socks5 URL)."""

    isolation: Literal["process", "inline"] = "process"
    proxy: str | None = None
