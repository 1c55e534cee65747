"""What WhatsApp holds against a device: that it may not write to new contacts for a while."""

import msgspec

from appliance.model.clock import Clock
from appliance.model.device import Device
from appliance.model.errors import ReachoutRestricted
from appliance.store import refused_sends
from appliance.store.database import Reader

LOOK_BACK_MS = 24 * 3600 * 1000


class Restriction(msgspec.Struct, rename="camel"):
    """WhatsApp refused a message to a new contact at `refused_at` (ms); `until` (ms) when it said how
    long."""

    refused_at: int
    until: int | None


async def restriction_of(reader: Reader, clock: Clock, device: Device) -> Restriction | None:
    """None unless WhatsApp refused a new contact within the last day, and the end it told is not over."""
    now = clock.now_ms()
    found = await reader.one(
        refused_sends.latest(device.account_id, device.id, ReachoutRestricted.code, now - LOOK_BACK_MS)
    )
    if found is None:
        return None
    until = msgspec.json.decode(found.details).get("until")
    return None if until is not None and until <= now else Restriction(found.created_at, until)
