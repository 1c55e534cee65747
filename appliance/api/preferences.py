"""`Prefer` (RFC 7240): how long a sender wants to wait for WhatsApp."""

import re
from typing import Any

from litestar import Request

from appliance.api.frame import add_header, header

DEFAULT_WAIT_S = 15.0
LONGEST_WAIT_S = 60.0
_WAIT = re.compile(r'wait\s*=\s*"?([0-9]{1,6})"?\Z', re.IGNORECASE)


def wait_s(request: Request[Any, Any, Any], *, is_connected: bool) -> float:
    """Seconds to wait for the message to be sent; what was asked for is confirmed in `Preference-Applied`.

    Who asks for nothing waits only for a device that is connected: another one may take hours.
    """
    asked_s = _asked_s(request)
    if asked_s is None:
        return DEFAULT_WAIT_S if is_connected else 0.0
    seconds, applied = asked_s
    add_header(request, "Preference-Applied", applied)
    return seconds


def wants_no_wait(request: Request[Any, Any, Any]) -> bool:
    """Whether the sender said that the answer may come before the message is sent."""
    asked_s = _asked_s(request)
    return asked_s is not None and asked_s[0] == 0


def _asked_s(request: Request[Any, Any, Any]) -> tuple[float, str] | None:
    """The seconds asked for, and the preference as it is confirmed; None when nothing is asked."""
    for preference in header(request, "prefer").split(","):
        token = preference.partition(";")[0].strip()
        if token.lower() == "respond-async":
            return 0.0, "respond-async"
        if (found := _WAIT.match(token)) is not None:
            seconds = min(float(found.group(1)), LONGEST_WAIT_S)
            return seconds, f"wait={seconds:.0f}"
    return None
