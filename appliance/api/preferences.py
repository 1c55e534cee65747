"""`Prefer` (RFC 7240): how long a sender wants to wait for WhatsApp."""

import re
from typing import Any

from litestar import Request

from appliance.api.frame import add_header

DEFAULT_WAIT_S = 15.0
LONGEST_WAIT_S = 60.0
_WAIT = re.compile(r'wait\s*=\s*"?([0-9]{1,6})"?\Z', re.IGNORECASE)


def wait_s(request: Request[Any, Any, Any], *, is_connected: bool) -> float:
    """Seconds to wait for the message to be sent; what was asked for is confirmed in `Preference-Applied`.

    Who asks for nothing waits only for a device that is connected: another one may take hours.
    """
    for preference in request.headers.get("prefer", "").split(","):
        token = preference.partition(";")[0].strip()
        if token.lower() == "respond-async":
            add_header(request, "Preference-Applied", "respond-async")
            return 0.0
        if (found := _WAIT.match(token)) is not None:
            seconds = min(float(found.group(1)), LONGEST_WAIT_S)
            add_header(request, "Preference-Applied", f"wait={seconds:.0f}")
            return seconds
    return DEFAULT_WAIT_S if is_connected else 0.0
