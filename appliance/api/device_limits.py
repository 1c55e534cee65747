"""Everything that may keep a device from sending, on one page."""

import msgspec

from appliance.gateway.gateway import Gateway
from appliance.gateway.restrictions import Restriction, restriction_of
from appliance.model.device import Device, DeviceStatus
from appliance.store import deliveries


class SendBudget(msgspec.Struct, rename="camel"):
    """Messages a minute (0: not limited), how many may go now, and the epoch second when that next rises."""

    limit: int
    remaining: int
    reset_at: int


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
        restriction=await restriction_of(gateway.reader, gateway.clock, device),
        ban=Ban(device.until) if device.status is DeviceStatus.BANNED else None,
        client=Client(client_version, device.status is DeviceStatus.OUTDATED),
        queue=Backlog(gateway.outbox.waiting(device.id)),
        webhooks=Backlog(backlog or 0),
    )
