"""Everything that may keep a device from sending, on one page."""

import msgspec

from appliance.gateway.gateway import Gateway
from appliance.model.device import Device, DeviceStatus
from appliance.model.errors import ReachoutRestricted
from appliance.store import deliveries, refused_sends

_LOOK_BACK_MS = 24 * 3600 * 1000


class SendBudget(msgspec.Struct, rename="camel"):
    """Messages a minute (0: not limited), how many may go now, and the epoch second when that next rises."""

    limit: int
    remaining: int
    reset_at: int


class Restriction(msgspec.Struct, rename="camel"):
    """WhatsApp refused a message to a new contact at `refused_at` (ms); `until` (ms) when it said how
    long."""

    refused_at: int
    until: int | None


class Ban(msgspec.Struct, rename="camel"):
    """`until` ms, None when WhatsApp did not say."""

    until: int | None


class Client(msgspec.Struct, rename="camel"):
    """The WhatsApp client library; `outdated`: WhatsApp refuses its version."""

    version: str | None
    outdated: bool


class Backlog(msgspec.Struct, rename="camel"):
    """How many are waiting."""

    waiting: int


class DeviceLimits(msgspec.Struct, rename="camel"):
    """`restriction` is None unless WhatsApp refused a new contact within the last day; `ban` None unless
    banned."""

    device_id: str
    status: DeviceStatus
    rate_limit: SendBudget
    restriction: Restriction | None
    ban: Ban | None
    client: Client
    queue: Backlog
    webhooks: Backlog


async def limits_of(gateway: Gateway, device: Device, client_version: str | None) -> DeviceLimits:
    rate = gateway.limits.state(device.id)
    backlog = await gateway.reader.one(deliveries.waiting_for(device.account_id, device.id))
    return DeviceLimits(
        device_id=device.id,
        status=device.status,
        rate_limit=SendBudget(rate.limit, rate.remaining, rate.reset_at),
        restriction=await _restriction(gateway, device),
        ban=Ban(device.until) if device.status is DeviceStatus.BANNED else None,
        client=Client(client_version, device.status is DeviceStatus.OUTDATED),
        queue=Backlog(gateway.outbox.waiting(device.id)),
        webhooks=Backlog(backlog or 0),
    )


async def _restriction(gateway: Gateway, device: Device) -> Restriction | None:
    now = gateway.clock.now_ms()
    found = await gateway.reader.one(
        refused_sends.latest(device.account_id, device.id, ReachoutRestricted.code, now - _LOOK_BACK_MS)
    )
    if found is None:
        return None
    until = msgspec.json.decode(found.details).get("until")
    return None if until is not None and until <= now else Restriction(found.created_at, until)
