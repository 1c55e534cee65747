"""What WhatsApp has refused lately: read for the page on a device's limits."""

import msgspec

from appliance.store.query import Query, select


class RefusedSend(msgspec.Struct, frozen=True):
    """A message of ours that failed. `details` may hold `until` (JSON); `created_at` ms."""

    id: str
    details: bytes
    created_at: int


def latest(account_id: str, device_id: str, error_code: str, since_ms: int) -> Query[RefusedSend]:
    """The device's newest message since then that failed with that code."""
    where = (
        "device_id = ? AND created_at >= ? AND account_id = ? AND error_code = ? AND via_api = 1 "
        "ORDER BY created_at DESC LIMIT 1"
    )
    table = "messages INDEXED BY messages_refused"
    return select(RefusedSend, table, where, device_id, since_ms, account_id, error_code)
