"""The command line: serve, and the chores around it."""

import argparse
import os
import sys
from pathlib import Path

from appliance import __version__

EXIT_USAGE = 2
EXIT_REFUSED = 1


def main(arguments: list[str]) -> int:
    """Carry out a command; returns the exit code: 0 done, 1 refused or failed, 2 wrong usage or
    configuration."""
    if arguments[:1] == ["session-worker"]:
        from appliance.engine.worker.main import worker_main

        return worker_main(arguments[1:])
    if arguments[:1] == ["fork-server"]:
        from appliance.engine.forkserver import fork_server_main

        return fork_server_main(arguments[1:])
    options = _parser().parse_args(arguments)
    command: str = options.command
    if command == "version":
        print(f"wa-gateway {__version__}")  # noqa: T201
        return 0
    return _with_config(command, options)


def _with_config(command: str, options: argparse.Namespace) -> int:
    from appliance.config import ConfigError, load

    overrides = list(options.set)
    if options.data_dir is not None:
        overrides.append(f"data_dir={options.data_dir!r}")
    try:
        config = load(options.config, os.environ, overrides)
    except ConfigError as error:
        return _refuse(str(error), EXIT_USAGE)
    if command == "serve":
        if config.engine.isolation == "inline":
            from appliance.engine.environment import ensure_environment

            ensure_environment()
        from appliance.runtime import run

        return run(config)
    if command == "user":
        from appliance.chores import create_user

        return create_user(config, options.email, options.name, admin=options.admin)
    print("The configuration is good.")  # noqa: T201
    return 0


def _refuse(text: str, code: int) -> int:
    print(f"wa-gateway: {text}", file=sys.stderr)  # noqa: T201
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wa-gateway", description="A WhatsApp HTTP gateway on this machine."
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, metavar="FILE", help="the TOML file with settings")
    common.add_argument("--data-dir", metavar="DIR", help="where everything is kept (default: data)")
    common.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="one setting")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("serve", parents=[common], help="run the gateway in the foreground")
    commands.add_parser(
        "check-config", parents=[common], help="read the configuration and say whether it is good"
    )
    commands.add_parser("version", help="print the version")
    user = commands.add_parser("user", help="accounts").add_subparsers(
        dest="user", required=True, metavar="ACTION"
    )
    create = user.add_parser("create", parents=[common], help="make an account and print its API key once")
    create.add_argument("--email", required=True)
    create.add_argument("--name", default="")
    create.add_argument(
        "--password-stdin", action="store_true", required=True, help="read the password from stdin"
    )
    create.add_argument("--admin", action="store_true", help="the account may manage the gateway")
    return parser
