"""Chores of the command line that change something: by the running gateway if there is one, else by
themselves."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from appliance import control, data_dir
from appliance.config import Config
from appliance.gateway.accounts import Accounts
from appliance.gateway.clock import SystemClock
from appliance.gateway.setup_token import SetupToken
from appliance.gateway.vault import Vault
from appliance.model.account import Role
from appliance.model.errors import GatewayError
from appliance.store import opening
from appliance.store.database import Database
from appliance.store.migrate import migrate


def create_user(config: Config, email: str, name: str, *, admin: bool) -> int:
    """Make an account with the password on stdin and print its API key. Works beside the running gateway."""
    password = sys.stdin.readline().rstrip("\n")
    details = {"email": email, "name": name, "password": password, "admin": admin}
    answer = control.ask(config.data, "user-create", **details)
    if answer is None:
        try:
            answer = asyncio.run(_create_alone(config, details))
        except data_dir.DataDirInUse as error:
            answer = {"error": str(error)}
    if "error" in answer:
        print(f"wa-gateway: {answer['error']}", file=sys.stderr)  # noqa: T201
        return 1
    print(answer["apiKey"])  # noqa: T201
    return 0


async def create_account(accounts: Accounts, details: dict[str, Any]) -> dict[str, Any]:
    """Make the account that `details` describe (`email`, `name`, `password`, `admin`)."""
    role: Role = "admin" if details["admin"] else "user"
    name = details["name"] or details["email"].partition("@")[0]
    _, key = await accounts.create(details["email"], name, details["password"], role)
    return {"apiKey": key}


async def _create_alone(config: Config, details: dict[str, Any]) -> dict[str, Any]:
    with data_dir.lock(config.data):
        path = database_path(config.data)
        opening.prepare(path, config.store)
        migrate(path, config.store)
        opening.begun(path)
        db = Database(path, config.store)
        await db.open()
        vault, clock = Vault.from_file(config.data / "secret.key"), SystemClock()
        accounts = Accounts(
            db, db.reader, vault, clock, config.accounts, SetupToken(config.data / "setup-token")
        )
        try:
            await accounts.open()
            return await create_account(accounts, details)
        except GatewayError as error:
            return {"error": error.detail}
        finally:
            accounts.close()
            await db.close()
            opening.ended(path)


def database_path(folder: Path) -> Path:
    """The database's file within the data directory."""
    return folder / "gateway.db"
