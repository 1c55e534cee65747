"""One attempt: the event's stored bytes are signed, posted, and the beginning of the answer is read."""

import asyncio

import aiohttp
import msgspec
from yarl import URL

from appliance.gateway import signing
from appliance.gateway.addresses import AddressForbidden
from appliance.gateway.endpoint_seal import EndpointSeal
from appliance.model.clock import Clock
from appliance.model.webhook import Endpoint
from appliance.store import events
from appliance.store.delivery_queue import Claimed

ANSWER_READ = 16 * 1024
ANSWER_KEPT = 1024
ANSWER_WAIT_S = 1.0
"""How long the rest of an answer may take after its status: the status alone decides."""

SHOWN = b"Shown by the inspector. Nothing was sent."

# The first class that fits counts: the narrower ones stand first.
_ERRORS: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
    (TimeoutError, "timeout"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    (aiohttp.ClientConnectorCertificateError, "tls"),
    (aiohttp.ClientSSLError, "tls"),
    (aiohttp.ClientConnectorError, "connect"),
    (aiohttp.ServerDisconnectedError, "disconnected"),
    (aiohttp.ClientResponseError, "bad_answer"),
    (aiohttp.ClientPayloadError, "bad_answer"),
    (aiohttp.InvalidURL, "bad_url"),
    (OSError, "disconnected"),
    (aiohttp.ClientError, "bad_answer"),
)


class Answer(msgspec.Struct):
    """What came back: an HTTP `status`, or the `error` that kept it away. `body` is its first KiB.

    `forbidden` says in words why the address may not be used (any more).
    """

    duration_ms: int = 0
    status: int | None = None
    error: str | None = None
    body: bytes | None = None
    retry_after: str | None = None
    forbidden: str | None = None


class Receiver:
    """An endpoint with its secrets opened. Raises VaultError when they do not open."""

    def __init__(self, endpoint: Endpoint, seal: EndpointSeal, now_ms: int) -> None:
        self.endpoint = endpoint
        self.url = URL(endpoint.url)
        self._secret = seal.secret(endpoint)
        self._previous = seal.previous_secret(endpoint, now_ms)
        self._previous_until = endpoint.previous_until or 0
        self._headers = seal.headers(endpoint)

    def is_of(self, endpoint: Endpoint) -> bool:
        """Whether a newer row of the endpoint would be served just the same."""
        mine = self.endpoint
        return (
            mine.url == endpoint.url
            and mine.secret_sealed == endpoint.secret_sealed
            and mine.headers_sealed == endpoint.headers_sealed
            and mine.redirect_is_success == endpoint.redirect_is_success
        )

    def headers(self, delivery: Claimed, body: bytes, now_ms: int) -> dict[str, str]:
        """All headers of the next attempt; the owner's own never replace those of the contract."""
        return self._headers | signing.delivery_headers(
            event_type=delivery.event_type,
            body=body,
            timestamp_ms=delivery.event_at,
            attempt=delivery.attempts + 1,
            event_id=delivery.event_no,
            now_s=now_ms // 1000,
            secret=self._secret,
            previous_secret=self._previous if now_ms < self._previous_until else None,
        )


def unsendable(delivery: Claimed) -> str | None:
    """Why the delivery can never be made: `event_gone` (deleted), `corrupt` (damaged on disk); else None."""
    if delivery.body is None:
        return "event_gone"
    return None if events.crc(delivery.body) == delivery.crc else "corrupt"


async def attempt(
    client: aiohttp.ClientSession, receiver: Receiver, delivery: Claimed, clock: Clock, at_ms: int
) -> Answer:
    """POST the delivery's body as it is stored, dated `at_ms`. Never raises for what the receiver or the
    network does."""
    assert delivery.body is not None
    if receiver.endpoint.is_inspector:
        return Answer(status=200, body=SHOWN)
    started = clock.monotonic()
    answer = Answer()
    try:
        headers = receiver.headers(delivery, delivery.body, at_ms)
        await _exchange(client, receiver.url, headers, delivery.body, answer)
    except AddressForbidden as refusal:
        answer.error, answer.forbidden = "address_forbidden", str(refusal)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        answer.error = next((code for kind, code in _ERRORS if isinstance(error, kind)), "bad_url")
    answer.duration_ms = round((clock.monotonic() - started) * 1000)
    return answer


async def _exchange(
    client: aiohttp.ClientSession, url: URL, headers: dict[str, str], body: bytes, answer: Answer
) -> None:
    async with client.post(
        url, data=body, headers=headers, allow_redirects=False, read_bufsize=ANSWER_READ // 2
    ) as response:
        answer.status = response.status
        answer.retry_after = response.headers.get("Retry-After")
        answer.body = await _beginning(response)


async def _beginning(response: aiohttp.ClientResponse) -> bytes | None:
    """The first KiB. A longer answer is read a little further, so that its connection can be used again; one
    that does not end soon costs its connection."""
    read = bytearray()
    try:
        async with asyncio.timeout(ANSWER_WAIT_S):
            while len(read) < ANSWER_READ and (chunk := await response.content.readany()):
                read += chunk
    except (TimeoutError, aiohttp.ClientError, OSError):
        # The status has come, and the status decides.
        response.close()
    if len(read) >= ANSWER_READ:
        response.close()
    return bytes(read[:ANSWER_KEPT]) or None
