"""Accounts from the command line: list, make, new password, shut out, let in again, delete."""

import argparse
import datetime
import getpass
import sys
from collections.abc import Mapping
from typing import Any

from appliance.config import Config
from appliance.operations.asking import Refused, ask, refuse, say

_COLUMNS = ("EMAIL", "NAME", "ROLE", "STATE", "DEVICES", "SINCE")


def run(config: Config, options: argparse.Namespace) -> int:
    """Carry out `user ACTION`; returns the exit code. Works beside the running gateway."""
    try:
        {
            "list": _list,
            "create": _create,
            "password": _password,
            "disable": _disable,
            "enable": _enable,
            "delete": _delete,
        }[options.user](config, options)
    except Refused as error:
        return refuse(error)
    return 0


def _list(config: Config, options: argparse.Namespace) -> None:
    found: list[dict[str, Any]] = ask(config, "user-list")["users"]
    rows = [_COLUMNS, *(_row(user) for user in found)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(_COLUMNS))]
    for row in rows:
        say("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _row(user: Mapping[str, Any]) -> tuple[str, ...]:
    since = datetime.datetime.fromtimestamp(user["createdAt"] / 1000, datetime.UTC)
    state = "disabled" if user["disabled"] else "active"
    return (user["email"], user["name"], user["role"], state, str(user["devices"]), f"{since:%Y-%m-%d}")


def _create(config: Config, options: argparse.Namespace) -> None:
    password = _typed_password(from_stdin=options.password_stdin)
    details = {"email": options.email, "name": options.name, "admin": options.admin}
    say(ask(config, "user-create", **details, password=password)["apiKey"])


def _password(config: Config, options: argparse.Namespace) -> None:
    password = _typed_password(from_stdin=options.password_stdin)
    ended = ask(config, "user-password", email=options.email, password=password)["ended"]
    say(f"The password is changed. Browsers signed out: {ended}.")


def _disable(config: Config, options: argparse.Namespace) -> None:
    ask(config, "user-disable", email=options.email)
    say("The account is shut out; its devices are disconnected and stay linked.")


def _enable(config: Config, options: argparse.Namespace) -> None:
    ask(config, "user-enable", email=options.email)
    say("The account is let in again; its devices stay disconnected until somebody connects them.")


def _delete(config: Config, options: argparse.Namespace) -> None:
    if not options.yes:
        _confirm(options.email)
    left = ask(config, "user-delete", email=options.email)["stillLinked"]
    say("The account is deleted, with its devices, messages and webhooks.")
    if left:
        say(f"WhatsApp could not be told to unlink {left} of its devices: unlink them on the phone.")


def _confirm(email: str) -> None:
    if not sys.stdin.isatty():
        raise Refused("deleting an account deletes its messages too: say --yes.")
    if input(f"Type {email} to delete this account with all its devices and messages: ") != email:
        raise Refused("nothing was deleted.")


def _typed_password(*, from_stdin: bool) -> str:
    """The password from stdin's first line, or typed twice at the terminal. Raises Refused."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise Refused("there is no terminal to ask at: say --password-stdin.")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise Refused("the two are not the same.")
    return password
