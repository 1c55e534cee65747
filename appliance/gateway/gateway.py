"""The gateway's parts in one place, as the doors and the composition root see them."""

from dataclasses import dataclass

from appliance.gateway.accounts import Accounts
from appliance.gateway.devices import DeviceManager
from appliance.gateway.events import EventLog
from appliance.gateway.installation import Installation
from appliance.gateway.invites import Invites
from appliance.gateway.limits import RateLimits
from appliance.gateway.media import Media
from appliance.gateway.outbox import Outbox
from appliance.gateway.people import People
from appliance.gateway.sandbox import Sandbox
from appliance.gateway.tickets import Tickets
from appliance.gateway.webhooks import Webhooks
from appliance.model.clock import Clock
from appliance.store.database import Reader


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a door may ask for: `reader` for reads, the parts for changes."""

    reader: Reader
    clock: Clock
    accounts: Accounts
    invites: Invites
    people: People
    devices: DeviceManager
    outbox: Outbox
    media: Media
    events: EventLog
    webhooks: Webhooks
    limits: RateLimits
    tickets: Tickets
    sandbox: Sandbox
    installation: Installation
