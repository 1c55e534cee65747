"""What the running gateway tells `doctor` of itself."""

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from appliance import __version__
from appliance.control import Command
from appliance.house import House


def commands(house: House) -> Mapping[str, Command]:
    """The command `doctor`, for the control socket."""

    async def answer(_details: dict[str, Any]) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "version": __version__,
            "devices": sum(not device.sandbox for device in house.gateway.devices.everywhere()),
            "certificate": msgspec.to_builtins(house.gateway.installation.certificate()),
            "store": msgspec.to_builtins(house.gateway.installation.state()),
        }

    return {"doctor": answer}
