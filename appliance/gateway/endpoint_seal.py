"""An endpoint's secrets, sealed as they are stored: the signing secrets and the values of added headers."""

from collections.abc import Mapping

import msgspec

from appliance.gateway.vault import Vault, VaultError
from appliance.model.webhook import Endpoint

_SECRET, _HEADERS = "webhook-secret", "webhook-headers"


class EndpointSeal:
    """Seals and opens what an endpoint keeps secret. Opening raises VaultError with another key file."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def seal_secret(self, secret: str) -> bytes:
        return self._vault.seal(secret.encode(), _SECRET)

    def seal_headers(self, headers: Mapping[str, str]) -> bytes | None:
        """None for no headers at all."""
        return self._vault.seal(msgspec.json.encode(headers), _HEADERS) if headers else None

    def opens(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint's secrets were sealed with this key file."""
        try:
            self.secret(endpoint)
            self.headers(endpoint)
        except VaultError:
            return False
        return True

    def secret(self, endpoint: Endpoint) -> str:
        return self._vault.open(endpoint.secret_sealed, _SECRET).decode()

    def previous_secret(self, endpoint: Endpoint, now_ms: int) -> str | None:
        """The secret before the last rotation, while receivers may still use it."""
        if endpoint.previous_sealed is None or now_ms >= (endpoint.previous_until or 0):
            return None
        return self._vault.open(endpoint.previous_sealed, _SECRET).decode()

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        if endpoint.headers_sealed is None:
            return {}
        return msgspec.json.decode(self._vault.open(endpoint.headers_sealed, _HEADERS), type=dict[str, str])
