"""The command line: serve, and what one does beside serving.

Each command reads in only what it needs; `parser` knows them all, and each names the function that does it.
"""

import argparse
import functools
import io
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from appliance import __version__
from appliance.model.told import refused_by_system

if TYPE_CHECKING:
    from appliance.config import Config

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_SIGNAL = 128
"""And the signal's number: 130 after Ctrl+C."""
CONFIG_VARIABLE = "WA_GATEWAY_CONFIG"
"""Names the settings file when --config does not: so an installed gateway's commands find its settings."""

Run = Callable[[argparse.Namespace], int]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
_HELP = functools.partial(argparse.HelpFormatter, max_help_position=30)


def main(arguments: list[str]) -> int:
    """Carry out a command; returns the exit code: 0 done, 1 refused or failed, 2 wrong usage or
    configuration, 130 after Ctrl+C."""
    _have_first_descriptors()
    if arguments[:1] == ["session-worker"]:
        from appliance.engine.worker.main import worker_main

        return worker_main(arguments[1:])
    if arguments[:1] == ["fork-server"]:
        from appliance.engine.forkserver import fork_server_main

        return fork_server_main(arguments[1:])
    if arguments[:1] == ["certificate-order"]:
        from appliance.operations.certificate_order import main as order_main

        return order_main()
    if arguments == ["--version"]:  # what most programs understand
        arguments = ["version"]
    options = parser(os.environ.pop(CONFIG_VARIABLE, None)).parse_args(arguments)
    run: Run = options.run
    return run(options) if options.command == "serve" else _ended_well(run, options)


def _ended_well(run: Run, options: argparse.Namespace) -> int:
    """Carry out a command that ends by itself; however it ends, the user reads a sentence and what it began
    is undone."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal of another encoding shows what it can.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = run(options)
        sys.stdout.flush()
    except KeyboardInterrupt as ended:
        return _refuse("interrupted.", EXIT_SIGNAL + (ended.args[0] if ended.args else signal.SIGINT))
    except EOFError:
        return _refuse("nothing was typed, so nothing was done.", EXIT_REFUSED)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        _forget_output()
        return 0
    except OSError as error:
        _forget_output()
        return _refuse(refused_by_system(error, "the output"), EXIT_REFUSED)
    return code


def _interrupt(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(number)


def _forget_output() -> None:
    """Nothing is left to be flushed at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _have_first_descriptors() -> None:
    """Whoever started us may have closed stdin, stdout or stderr: the next file would get that number, and
    what is written there would go into it, were it the database."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or os.fdopen(0, "r")
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _with_config(run: "Callable[[Config, argparse.Namespace], int]") -> Run:
    """A command that takes the configuration, which must be good."""

    def with_config(options: argparse.Namespace) -> int:
        from appliance.config import ConfigError, load

        try:
            config = load(options.config, os.environ, overrides(options))
        except ConfigError as error:
            return _refuse(str(error), EXIT_USAGE)
        return run(config, options)

    return with_config


def overrides(options: argparse.Namespace) -> list[str]:
    """What the command line says about settings, as `section.key=value` texts."""
    data_dir = [] if options.data_dir is None else [f"data_dir={_quoted(options.data_dir)}"]
    return [*options.set, *data_dir]


def _quoted(text: str) -> str:
    """As a TOML string, which it stays whatever is in it."""
    escaped = re.sub(r'[\x00-\x1f\x7f"\\]', lambda found: f"\\u{ord(found[0]):04x}", text)
    return f'"{escaped}"'


def _version(_options: argparse.Namespace) -> int:
    print(f"wa-gateway {__version__}")  # noqa: T201
    return 0


def _serve(config: "Config", options: argparse.Namespace) -> int:
    if config.engine.isolation == "inline":
        from appliance.engine.environment import ensure_environment

        ensure_environment()
    from appliance.config import Config, load
    from appliance.runtime import run

    certificates = None
    if config.tls.is_on:
        from appliance.certificates import Certificates

        certificates = Certificates(config.tls, config.data / "tls", config.server.host)

    def read() -> Config:
        fresh = load(options.config, os.environ, overrides(options))
        if fresh.tls.is_on:
            from appliance.certificates import check_settings

            check_settings(fresh.tls)
        return fresh

    return run(config, read=read, certificates=certificates)


def _check_config(config: "Config", options: argparse.Namespace) -> int:
    from appliance.operations.check_config import run

    return run(config, options, overrides(options))


def _user(config: "Config", options: argparse.Namespace) -> int:
    from appliance.operations.users import run

    return run(config, options)


def _doctor(options: argparse.Namespace) -> int:
    from appliance.operations.doctor import run

    return run(options, overrides(options))


def _healthcheck(config: "Config", _options: argparse.Namespace) -> int:
    from appliance.operations.healthcheck import healthcheck

    return healthcheck(config)


def _backup(config: "Config", options: argparse.Namespace) -> int:
    from appliance.operations.backup_file import run

    return run(config, options)


def _restore(config: "Config", options: argparse.Namespace) -> int:
    from appliance.operations.restore import run

    return run(config, options)


def _export(config: "Config", options: argparse.Namespace) -> int:
    from appliance.operations.moving import run_export

    return run_export(config, options)


def _import(config: "Config", options: argparse.Namespace) -> int:
    from appliance.operations.moving import run_import

    return run_import(config, options)


def _logs(config: "Config", options: argparse.Namespace) -> int:
    from appliance.operations.follow_logs import run

    return run(config, options)


def _refuse(text: str, code: int) -> int:
    print(f"wa-gateway: {text}", file=sys.stderr)  # noqa: T201
    return code


def parser(config_file: str | None = None) -> argparse.ArgumentParser:
    """Every command with its options; `config_file` is read where --config names no other."""
    made = argparse.ArgumentParser(
        prog="wa-gateway",
        formatter_class=_HELP,
        description="A WhatsApp HTTP gateway on this machine.",
        epilog="wa-gateway COMMAND --help tells more. Exit codes: 0 done, 1 refused or failed, 2 wrong usage "
        "or configuration, 130 after Ctrl+C.",
    )
    common = _common(config_file)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        return _add(commands, common, name, run, text)

    command("serve", _with_config(_serve), "run the gateway in the foreground")
    command("check-config", _with_config(_check_config), "say whether the configuration can be used")
    _add_doctor(
        command("doctor", _doctor, "look at this machine and say what is wrong and what to do about it")
    )
    command("healthcheck", _with_config(_healthcheck), "ask the running gateway whether it is ready")
    _add_logs(command("logs", _with_config(_logs), "show the end of the log, as people read it"))
    _add_user(commands, common)
    text = "put everything into one file sealed with a passphrase, while the gateway runs or not"
    backup = command("backup", _with_config(_backup), text)
    text = "put a backup in the place of what the data directory holds, which is set aside"
    restore = command("restore", _with_config(_restore), text)
    _add_backup(backup, restore)
    text = "let a linked device go to another host, in a file sealed with a passphrase"
    leaving = command("export", _with_config(_export), text)
    text = "take in a device that another host exported"
    arriving = command("import", _with_config(_import), text)
    _add_moving(leaving, arriving)
    for each in (backup, restore, leaving, arriving):
        _add_passphrase(each)
    version = commands.add_parser("version", help="print the version", description="Print the version.")
    version.set_defaults(run=_version)
    return made


def _add(
    commands: Commands, common: argparse.ArgumentParser, name: str, run: Run, text: str
) -> argparse.ArgumentParser:
    sentence = f"{text[0].upper()}{text[1:]}."
    made = commands.add_parser(name, parents=[common], help=text, description=sentence, formatter_class=_HELP)
    made.set_defaults(run=run)
    return made


def _common(config_file: str | None) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    settings = common.add_argument_group("settings")
    settings.add_argument(
        "--config", type=Path, metavar="FILE", default=config_file, help="the TOML file with settings"
    )
    settings.add_argument("--data-dir", metavar="DIR", help="where everything is kept (default: data)")
    settings.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="one setting, may be repeated"
    )
    return common


def _add_user(commands: Commands, common: argparse.ArgumentParser) -> None:
    user = commands.add_parser("user", help="accounts: list, create, password, disable, enable, delete")
    actions = user.add_subparsers(dest="user", required=True, metavar="ACTION")

    def action(name: str, text: str) -> argparse.ArgumentParser:
        return _add(actions, common, name, _with_config(_user), text)

    action("list", "show every account")
    create = action("create", "make an account and print its API key once")
    create.add_argument("--email", required=True, help="what it signs in with")
    create.add_argument("--name", default="", help="how the account is called (default: from the email)")
    create.add_argument("--admin", action="store_true", help="the account may manage the gateway")
    password = action("password", "give an account a new password and sign its browsers out")
    for each in (create, password):
        each.add_argument(
            "--password-stdin", action="store_true", help="read the password from stdin, else ask for it"
        )
    disable = action("disable", "let neither key nor password of an account open anything")
    enable = action("enable", "let a disabled account in again")
    delete = action("delete", "delete an account with its devices, messages and webhooks")
    for each in (password, disable, enable, delete):
        each.add_argument("email", metavar="EMAIL", help="whose account")
    delete.add_argument("--yes", action="store_true", help="do not ask again")


def _add_backup(backup: argparse.ArgumentParser, restore: argparse.ArgumentParser) -> None:
    restore.add_argument("--rehearse", action="store_true", help="check everything and change nothing")
    for each in (backup, restore):
        each.add_argument("file", type=Path, metavar="FILE", help="the backup")


def _add_moving(leaving: argparse.ArgumentParser, arriving: argparse.ArgumentParser) -> None:
    leaving.add_argument("device", metavar="DEVICE", help="the device's id")
    leaving.add_argument("file", type=Path, metavar="FILE", nargs="?", help="the file to make")
    leaving.add_argument(
        "--take-back", action="store_true", help="let the device run here again: its file was never imported"
    )
    arriving.add_argument("file", type=Path, metavar="FILE", help="the file that export made")
    arriving.add_argument("--account", metavar="EMAIL", help="whose it is to be, where there are several")


def _add_passphrase(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="read the passphrase from there, else ask"
    )


def _add_logs(logs: argparse.ArgumentParser) -> None:
    logs.add_argument("--follow", action="store_true", help="go on with what is written, until Ctrl+C")
    logs.add_argument(
        "--lines", type=_count, default=100, metavar="N", help="so many lines (default: %(default)s)"
    )
    logs.add_argument(
        "--level",
        choices=("debug", "info", "warning", "error"),
        default="debug",
        help="from this level upwards (default: all)",
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a number of lines")
    return int(text)


def _address(text: str) -> str:
    name, _, port = text.rpartition(":")
    if not name or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536):
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT")
    return text


def _add_doctor(doctor: argparse.ArgumentParser) -> None:
    doctor.add_argument("--json", action="store_true", help="print an array of {check, state, text, advice}")
    doctor.add_argument(
        "--reach-whatsapp", action="store_true", help="also try to connect to WhatsApp; nothing is sent"
    )
    doctor.add_argument(
        "--whatsapp-address",
        type=_address,
        default="web.whatsapp.com:443",
        metavar="HOST:PORT",
        help="where WhatsApp is (default: %(default)s)",
    )
