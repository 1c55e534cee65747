"""`doctor`: looks at everything that a gateway needs, says what is wrong and what to do about it.

Nothing is changed, and nothing leaves the machine unless `--reach-whatsapp` asks for it.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator

import msgspec

from appliance import control
from appliance.config import Config, ConfigError, load
from appliance.operations import doctor_certificate, doctor_gateway, doctor_machine
from appliance.operations.asking import say
from appliance.operations.findings import Finding, Patient, bad, doubtful

_SIGNS = {"ok": "✓", "warning": "!", "problem": "✗"}
_PLAIN_SIGNS = {"ok": "ok", "warning": "warn", "problem": "FAIL"}
CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    doctor_gateway.check_config,
    doctor_machine.check_versions,
    doctor_gateway.check_engine,
    doctor_gateway.check_files,
    doctor_machine.check_disk,
    doctor_gateway.check_database,
    doctor_gateway.check_backups,
    doctor_gateway.check_port,
    doctor_certificate.check_tls,
    doctor_machine.check_memory,
    doctor_machine.check_descriptors,
    doctor_machine.check_clock,
    doctor_machine.check_dns,
    doctor_gateway.check_reach,
)


def run(options: argparse.Namespace, overrides: list[str]) -> int:
    """Look, and print what was found; returns 0 when nothing is wrong, else 1."""
    found = list(examine(options, overrides))
    if options.json:
        say(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        for finding in found:
            say(_line(finding))
        problems = sum(finding.state == "problem" for finding in found)
        say(f"\n{len(found)} things looked at, problems: {problems}.")
    return int(any(finding.state == "problem" for finding in found))


def examine(options: argparse.Namespace, overrides: list[str]) -> Iterator[Finding]:
    """Everything that is found, also where the configuration cannot be read."""
    checks = CHECKS
    try:
        config = load(options.config, os.environ, overrides)
    except ConfigError as error:
        yield bad("config", str(error), "Mend it; what follows goes by the defaults.")
        config = Config() if options.data_dir is None else Config(data_dir=options.data_dir)
        checks = CHECKS[1:]
    reach = options.whatsapp_address if options.reach_whatsapp else None
    patient = Patient(config, options.config, _asked(config), time.time_ns() // 1_000_000, reach)
    for check in checks:
        try:
            yield from check(patient)
        except OSError as error:
            name = check.__name__.removeprefix("check_")
            yield doubtful(name, f"This could not be looked at: {error}.", "Run it as the gateway's user.")


def _asked(config: Config) -> dict[str, object] | None:
    """What the running gateway says of itself, None when none runs or it does not answer."""
    try:
        answer = control.ask(config.data, "doctor")
    except (OSError, ValueError):
        return None
    return answer if answer is not None and "error" not in answer else None


def _line(finding: Finding) -> str:
    can_show = (sys.stdout.encoding or "").lower().startswith("utf")
    sign = (_SIGNS if can_show else _PLAIN_SIGNS)[finding.state]
    advice = f"\n    → {finding.advice}" if finding.advice and can_show else ""
    plain = f"\n    -> {finding.advice}" if finding.advice and not can_show else ""
    return f"{sign} {finding.text}{advice}{plain}"
