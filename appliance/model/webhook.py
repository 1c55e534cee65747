"""Webhook endpoints, deliveries and their attempts."""

from enum import StrEnum

import msgspec

from appliance.model.event import EventType

INSPECTOR_URL = "inspector:"
"""The address of an endpoint whose requests are shown in the dashboard instead of being sent anywhere."""


class EndpointStatus(StrEnum):
    OK = "ok"
    FAILING = "failing"
    """Its last delivery did not get through; it is probed at least every 15 minutes."""
    STOPPED = "stopped"
    """It answered 410, or its address is no longer allowed: nothing is sent until it is enabled again."""


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    """Waiting for its first attempt or its next one, or in the middle of one."""
    DELIVERED = "delivered"
    DEAD = "dead"
    """Not delivered within 7 days and one last attempt; it can be replayed."""


class EndpointFilters(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """Which events an endpoint wants; None means no restriction (but see the default of chat kinds).

    `chat_kinds` of direct, group, status, newsletter (default: direct and group) and `remote_jids` look at
    `message.received` and `message.status`; `from_me` and `kinds` (message kinds) at `message.received`.
    """

    chat_kinds: list[str] | None = None
    from_me: bool | None = None
    kinds: list[str] | None = None
    remote_jids: list[str] | None = None


class Endpoint(msgspec.Struct, kw_only=True):
    """A row of `endpoints`. Sealed columns hold AES-GCM ciphertext; times are ms.

    `probe_at`: when a failing endpoint is tried again at the latest; `catching_up`: it got well, and what
    waits for it is being made due.
    """

    id: str
    account_id: str
    device_id: str | None = None
    url: str
    events: list[EventType]
    filters: EndpointFilters
    secret_sealed: bytes
    previous_sealed: bytes | None = None
    previous_until: int | None = None
    headers_sealed: bytes | None = None
    redirect_is_success: bool = False
    enabled: bool = True
    status: EndpointStatus = EndpointStatus.OK
    status_reason: str | None = None
    failing_since: int | None = None
    probe_at: int | None = None
    catching_up: bool = False
    created_at: int

    @property
    def is_inspector(self) -> bool:
        """Whether its requests are shown in the dashboard instead of being sent."""
        return self.url == INSPECTOR_URL


class Delivery(msgspec.Struct, kw_only=True):
    """A row of `deliveries`: one event for one endpoint. Times are ms.

    `attempts` counts the POSTs made, `step` those that moved the retry schedule on (probes do not).
    `failing_since` is its first failed attempt since it was created or last replayed, moved on by the time in
    which nothing could be tried: the seven days begin there. `held`: the receiver named the time `due_at`
    (Retry-After), so that neither probe nor recovery comes before it. `last_status` and `last_error` repeat
    the newest attempt's.
    """

    no: int = 0
    id: str
    account_id: str
    endpoint_id: str
    device_id: str
    event_no: int
    event_type: EventType
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0
    step: int = 0
    due_at: int
    held: bool = False
    last_status: int | None = None
    last_error: str | None = None
    failing_since: int | None = None
    finished_at: int | None = None
    created_at: int


class Attempt(msgspec.Struct, kw_only=True):
    """A row of `attempts`: one POST. `status` is None when no answer came, and then `error` says why;
    `answer` is the first KiB of what came back."""

    delivery_no: int
    n: int
    at: int
    duration_ms: int
    status: int | None = None
    error: str | None = None
    answer: bytes | None = None
