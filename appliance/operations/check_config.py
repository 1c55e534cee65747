"""`check-config`: whether the configuration can be used, what in it differs from the defaults, and where that
was said."""

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from appliance.certificates import check_settings
from appliance.config import SECRETS, Config, origin
from appliance.operations import config_warnings
from appliance.operations.asking import refuse, say
from appliance.tls import TlsUnusable

EXIT_UNUSABLE = 2
_USER_INFO = re.compile(r"(?<=://).*@")


def run(config: Config, options: argparse.Namespace, overrides: list[str]) -> int:
    """Print what differs and what is doubtful; returns 0 when the gateway can use it, else 2."""
    try:
        check_settings(config.tls)
    except TlsUnusable as error:
        return refuse(error, EXIT_UNUSABLE)
    _tell_differences(config, options.config, overrides)
    for doubt in config_warnings.of(config, options.config):
        say(f"! {doubt.text}\n    → {doubt.advice}")
    say("The configuration is good.")
    return 0


def _tell_differences(config: Config, file: Path | None, overrides: list[str]) -> None:
    found = [
        (f"{name} = {_shown(name, value)}", origin(name, file, os.environ, overrides))
        for name, value in differences(config)
    ]
    if not found:
        say("Every setting has its default.")
        return
    width = max(len(setting) for setting, _ in found)
    for setting, where in found:
        say(f"{setting.ljust(width)}   {where}")


def differences(config: Config) -> Iterator[tuple[str, Any]]:
    """The settings by their dotted names that are not as they are when nothing is said."""
    usual = Config()
    for section in config.__struct_fields__:
        value, default = getattr(config, section), getattr(usual, section)
        if not isinstance(value, msgspec.Struct):
            if value != default:
                yield section, value
            continue
        for key in value.__struct_fields__:
            if getattr(value, key) != getattr(default, key):
                yield f"{section}.{key}", getattr(value, key)


def _shown(name: str, value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    if name == "engine.proxy":
        # Who it is has no secret, up to the last @: a password may hold one, too.
        return _USER_INFO.sub("…@", text)
    return "(a secret)" if name in SECRETS else text
