"""How well a webhook is doing, in the figures that its card and its page show."""

import msgspec

from appliance.gateway.delivery_alarm import gives_up_at
from appliance.gateway.gateway import Gateway
from appliance.model.webhook import Endpoint
from appliance.store import endpoint_health
from appliance.store.endpoint_health import Failure, Tally

DAY_MS = 24 * 3600 * 1000


class Health(msgspec.Struct, frozen=True):
    """The last 24 hours: `rate` is the share delivered in whole percent, None when nothing was tried.

    `backlog` is what waits now; `failure` the newest delivery that did not get through, if any;
    `gives_up_at` (ms) when the first deliveries will be given up, while it is failing.
    """

    tally: Tally
    backlog: int
    failure: Failure | None
    gives_up_at: int | None

    @property
    def tried(self) -> int:
        return self.tally.delivered + self.tally.dead + self.tally.retrying

    @property
    def rate(self) -> int | None:
        # Rounded down: 100 % is said only when nothing failed.
        return self.tally.delivered * 100 // self.tried if self.tried else None


async def health(gateway: Gateway, endpoint: Endpoint) -> Health:
    """Ask the store how the endpoint is doing."""
    reader, account_id = gateway.reader, endpoint.account_id
    since = gateway.clock.now_ms() - DAY_MS
    failure = await reader.one(endpoint_health.last_failure(account_id, endpoint.id))
    tally = await reader.one(endpoint_health.tally(account_id, endpoint.id, since))
    return Health(
        tally=tally or Tally(0, 0, 0),
        backlog=await reader.one(endpoint_health.backlog(account_id, endpoint.id)) or 0,
        failure=failure,
        gives_up_at=gives_up_at(endpoint),
    )
