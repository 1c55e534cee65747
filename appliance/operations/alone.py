"""The house without its doors, for a command that changes something while no gateway runs."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from appliance import data_dir
from appliance.config import Config
from appliance.house import House, build
from appliance.model.errors import GatewayError
from appliance.model.told import Told, refused_by_system
from appliance.operations import asked
from appliance.store import opening
from appliance.store.database import Database


def do_alone(config: Config, command: str, details: dict[str, Any]) -> dict[str, Any]:
    """Do what a running gateway would be asked to do; returns its answer, `{"error": …}` when refused."""
    # What the parts log is for whoever runs the gateway, not for whoever types a command.
    logging.getLogger("appliance").setLevel(logging.ERROR)
    if data_dir.is_somebody_elses(config.data):
        return _as_owner(config, command, details)
    return _done(config, command, details)


def _done(config: Config, command: str, details: dict[str, Any]) -> dict[str, Any]:
    try:
        return asyncio.run(_do(config, command, details))
    except (Told, GatewayError) as error:
        return {"error": str(error)}
    except OSError as error:
        return {"error": refused_by_system(error, config.data)}


def _as_owner(config: Config, command: str, details: dict[str, Any]) -> dict[str, Any]:
    """The same in a child that becomes the directory's user: what root made there, the gateway could not
    open."""
    ours, theirs = os.pipe()
    if (child := os.fork()) == 0:
        answer = {"error": "the command ended early."}
        try:
            data_dir.become_owner(config.data)
            answer = _done(config, command, details)
        finally:
            os.write(theirs, json.dumps(answer).encode())
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as told:
        said: dict[str, Any] = json.loads(told.read())
    os.waitpid(child, 0)
    return said


async def _do(config: Config, command: str, details: dict[str, Any]) -> dict[str, Any]:
    async with alone(config) as house:
        try:
            return await asked.commands(house)[command](details)
        except GatewayError as error:
            return {"error": error.detail}


@asynccontextmanager
async def alone(config: Config) -> AsyncIterator[House]:
    """Every part over the data directory, which is held meanwhile; nothing listens, no session starts.

    Raises Told, GatewayError, OSError.
    """
    with data_dir.lock(config.data):
        path = data_dir.database_path(config.data)
        opened = opening.make_ready(path, config.store)
        db = Database(path, config.store)
        with opening.using(path):
            await db.open()
        try:
            house = build(config, db, opened)
            try:
                await house.open()
                async with _listening(house):
                    yield house
            finally:
                house.close()
        finally:
            await db.close()
        opening.ended(path)


@asynccontextmanager
async def _listening(house: House) -> AsyncIterator[None]:
    """What workers of an earlier life left behind can be taken in meanwhile."""
    inbound = asyncio.create_task(house.inbound.run(), name="inbound")
    await house.open_engines()
    try:
        yield
    finally:
        await house.close_engines()
        await house.inbound.drained()
        inbound.cancel()
        await asyncio.gather(inbound, return_exceptions=True)
