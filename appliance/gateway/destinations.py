"""Where webhooks may go: public addresses, the allow list, and the private networks of a gateway with one
owner."""

import asyncio
from collections.abc import Callable

import aiohttp

from appliance.gateway.addresses import AddressForbidden, Policy
from appliance.gateway.http_client import TOTAL_TIMEOUT_S, Lookup, SystemLookup, open_client, vet
from appliance.model.errors import WebhookUrlForbidden

SETTING = "webhooks.allow"
URL_LONGEST = 2048
_LOOKUP_S = 5.0
_HOME = ["private", "loopback"]


class Destinations:
    """Judges webhook addresses when they are given, and again at every connection.

    `allow` lists addresses that are not public (grammar: `allow_list`). `private_allowed` says whether
    private and loopback networks are allowed now: while there is one account and nobody can register.
    `own_address` is where the gateway listens, which is never allowed. Raises AllowEntryInvalid when the
    allow list says nothing readable.
    """

    def __init__(
        self,
        allow: list[str],
        private_allowed: Callable[[], bool],
        own_address: tuple[str, int] | None = None,
        lookup: Lookup | None = None,
        total_timeout_s: float = TOTAL_TIMEOUT_S,
    ) -> None:
        self._own_address = own_address
        self.use(allow)
        self._private_allowed = private_allowed
        self._lookup = lookup or SystemLookup()
        self._total_timeout_s = total_timeout_s

    def use(self, allow: list[str]) -> None:
        """Go by this allow list from now on. Raises AllowEntryInvalid."""
        self._shared = _policy(allow, self._own_address)
        self._home = _policy([*allow, *_HOME], self._own_address)

    @property
    def policy(self) -> Policy:
        """What is allowed at this moment."""
        return self._home if self._private_allowed() else self._shared

    async def vet(self, url: str) -> None:
        """Raises WebhookUrlForbidden, naming the setting that would allow the address if one does.

        A name without an address passes: the receiver may not be there yet, and every connection is checked.
        """
        if len(url) > URL_LONGEST:
            raise WebhookUrlForbidden(f"The URL is longer than {URL_LONGEST} characters.")
        try:
            async with asyncio.timeout(_LOOKUP_S):
                await vet(url, self.policy, self._lookup)
        except AddressForbidden as refusal:
            raise _refused(refusal) from None
        except OSError:
            # TimeoutError is one too: a slow name server must not keep an endpoint from being made.
            return

    def open_client(self, policy: Policy) -> aiohttp.ClientSession:
        """An HTTP client that connects where `policy` allows."""
        return open_client(policy, None, lookup=self._lookup, total_timeout_s=self._total_timeout_s)


def _policy(entries: list[str], own_address: tuple[str, int] | None) -> Policy:
    policy = Policy.parse(entries, SETTING)
    return policy.with_own(*own_address) if own_address else policy


def _refused(refusal: AddressForbidden) -> WebhookUrlForbidden:
    if refusal.setting is None:
        return WebhookUrlForbidden(
            f"Webhooks never go there ({refusal.reason.value}).", extra={"reason": refusal.reason.value}
        )
    return WebhookUrlForbidden(
        f"Webhooks do not go there ({refusal.reason.value}) unless the configuration says {refusal.setting}.",
        suggestion=refusal.setting,
        extra={"reason": refusal.reason.value, "setting": refusal.setting},
    )
