"""Reading the configuration again: what can change in a running gateway does, the rest waits for a
restart."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from appliance import systemd
from appliance.config import Config
from appliance.gateway.installation import ReloadNote
from appliance.model.told import Told

log = logging.getLogger(__name__)

RELOADS = frozenset(
    {
        "accounts.registration",
        *("limits.messages_per_minute", "limits.queue_per_device", "limits.default_country_code"),
        *("media.max_bytes", "media.keep_days"),
        "webhooks.allow",
        *("retention.events_days", "retention.messages_days", "retention.max_mib"),
        *("backup.daily", "backup.keep", "backup.passphrase"),
        *("logs.level", "logs.format", "logs.file", "logs.max_mib", "logs.keep"),
        *("tls.certificate", "tls.key", "tls.key_password"),
    }
)
"""The settings that a running gateway takes up; every other one needs a restart."""


class Reload:
    """Reads the sources of the configuration again and hands what changed to `use`, one of whose parts may
    refuse before anything is changed. Whether TLS is spoken at all is a matter of a restart."""

    def __init__(
        self, read: Callable[[], Config], config: Config, use: Iterable[Callable[[Config], None]]
    ) -> None:
        self._read = read
        self._running = config
        self._use = list(use)
        self._turn = asyncio.Lock()
        self._last: ReloadNote | None = None

    def last(self) -> ReloadNote | None:
        """What came of the last time; None before there was one."""
        return self._last

    async def __call__(self) -> None:
        """Read and apply; a configuration that cannot be used changes nothing and is told."""
        async with self._turn:
            systemd.reloading()
            try:
                self._last = await self._apply()
            except Told as error:
                self._last = ReloadNote(_now_ms(), problem=str(error))
                log.error("config_refused", extra={"reason": str(error)})
            else:
                log.info(
                    "config_reloaded", extra={"applied": self._last.applied, "waiting": self._last.waiting}
                )
            finally:
                systemd.notify("READY=1")

    async def _apply(self) -> ReloadNote:
        fresh = await asyncio.to_thread(self._read)
        changed = changes(self._running, fresh)
        applied = [name for name in changed if name in RELOADS]
        if fresh.tls.is_on != self._running.tls.is_on or fresh.tls.is_ordered != self._running.tls.is_ordered:
            applied = [name for name in applied if not name.startswith("tls.")]
        used = with_settings(self._running, fresh, applied)
        for use in self._use:
            use(used)
        self._running = used
        return ReloadNote(_now_ms(), applied, [name for name in changed if name not in applied])


def changes(old: Config, new: Config) -> list[str]:
    """The settings that differ, by their dotted names."""
    return [name for name, value in _flat(new) if dict(_flat(old))[name] != value]


def with_settings(config: Config, source: Config, names: Iterable[str]) -> Config:
    """`config` with these settings of `source`."""
    for name in names:
        section, _, key = name.partition(".")
        value = getattr(getattr(source, section), key)
        inner = msgspec.structs.replace(getattr(config, section), **{key: value})
        config = msgspec.structs.replace(config, **{section: inner})
    return config


def _flat(config: Config) -> Iterable[tuple[str, Any]]:
    for section in config.__struct_fields__:
        value = getattr(config, section)
        if isinstance(value, msgspec.Struct):
            yield from ((f"{section}.{key}", getattr(value, key)) for key in value.__struct_fields__)
        else:
            yield section, value


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
