"""The sandbox numbers at which the gateway itself refuses, so that a caller can rehearse its refusals."""

from collections.abc import Callable

from appliance.model.errors import GatewayError, QueueFull, RateLimited, StorageFull
from appliance.model.jid import Jid

RETRY_AFTER_S = 2.0


def _rate_limited() -> GatewayError:
    return RateLimited("This number always answers 429 (rehearsed).", retry_after_s=RETRY_AFTER_S)


def _queue_full() -> GatewayError:
    return QueueFull("This number always answers 503 (rehearsed).", retry_after_s=RETRY_AFTER_S)


def _storage_full() -> GatewayError:
    return StorageFull("This number always answers 507 (rehearsed).")


_REFUSALS: dict[str, Callable[[], GatewayError]] = {
    "999000000029": _rate_limited,
    "999000000053": _queue_full,
    "999000000057": _storage_full,
}


def rehearsed_refusal(jid: Jid) -> GatewayError | None:
    """What a sandbox device answers instead of accepting a message for `jid`; None: it accepts."""
    refuse = _REFUSALS.get(jid.phone or "")
    return refuse and refuse()
