"""Fetches the file behind a URL that a caller gave: from public addresses only, bounded in time and size."""

import contextlib
from collections.abc import AsyncIterator
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec

from appliance.gateway.addresses import PUBLIC_ONLY, AddressForbidden, Policy, Reason
from appliance.gateway.http_client import Lookup, SystemLookup, open_client
from appliance.gateway.media_intake import too_large
from appliance.gateway.target_url import check_url
from appliance.model.errors import FieldError, GatewayError, Invalid, MediaUnreachable, MediaUrlForbidden

FETCH_TIMEOUT_S = 60.0
_CHUNK = 256 * 1024


class Answer(msgspec.Struct, frozen=True):
    """A file about to come: the name and type that the server gives it, and its bytes."""

    filename: str | None
    mimetype: str | None
    chunks: AsyncIterator[bytes]


class Fetcher:
    """Opens URLs. `own_address` (host, port) is where the gateway itself listens."""

    def __init__(
        self,
        own_address: tuple[str, int] | None,
        *,
        policy: Policy = PUBLIC_ONLY,
        lookup: Lookup | None = None,
        timeout_s: float = FETCH_TIMEOUT_S,
    ) -> None:
        self._own_address = own_address
        self._policy = policy
        self._lookup = lookup or SystemLookup()
        self._timeout_s = timeout_s

    @contextlib.asynccontextmanager
    async def open(self, url: str, limit: int) -> AsyncIterator[Answer]:
        """The answer to a GET, to be read inside the context.

        Raises MediaUrlForbidden, MediaUnreachable (also from the chunks), MediaTooLarge for an announced
        length over `limit`, Invalid for what is no URL.
        """
        try:
            check_url(url, self._policy)
            async with (
                open_client(
                    self._policy, self._own_address, lookup=self._lookup, total_timeout_s=self._timeout_s
                ) as client,
                client.get(url, allow_redirects=False) as response,
            ):
                _check_answer(response, limit)
                yield Answer(
                    _filename(response, url),
                    response.headers.get("Content-Type"),
                    response.content.iter_chunked(_CHUNK),
                )
        except AddressForbidden as refusal:
            raise _forbidden(refusal) from None
        except aiohttp.InvalidURL:
            raise _not_a_url() from None
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(self._reason(error)) from None

    def _reason(self, error: Exception) -> str:
        """In words that tell nothing about what stands behind the name."""
        match error:
            case TimeoutError():
                return f"The file did not come within {self._timeout_s:.0f} s."
            case aiohttp.ClientConnectorDNSError():
                return "The host name has no address."
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
                return "The server's TLS certificate is not trusted."
            case aiohttp.ClientConnectorError():
                return "The server could not be connected to."
            case aiohttp.ClientPayloadError():
                return "The file broke off."
            case _:
                return "The server did not answer in HTTP."


def _check_answer(response: aiohttp.ClientResponse, limit: int) -> None:
    if 300 <= response.status < 400:
        raise _unreachable(
            f"The URL answered {response.status}; redirects are not followed: give the final URL."
        )
    if response.status != 200:
        raise _unreachable(f"The URL answered {response.status}.")
    if response.content_length is not None and response.content_length > limit:
        raise too_large(limit)


def _filename(response: aiohttp.ClientResponse, url: str) -> str | None:
    given = response.content_disposition.filename if response.content_disposition else None
    last = unquote(urlsplit(url).path.rpartition("/")[2])
    return given or (last if "." in last else None)


def _unreachable(text: str) -> MediaUnreachable:
    return MediaUnreachable(text, errors=(FieldError("url", text),))


def _forbidden(refusal: AddressForbidden) -> GatewayError:
    if refusal.reason is Reason.MALFORMED:
        return _not_a_url()
    text = f"Files are fetched over http and https from public addresses only: {refusal}."
    return MediaUrlForbidden(text, errors=(FieldError("url", text),))


def _not_a_url() -> Invalid:
    return Invalid("This is not a URL that can be fetched.", field="url", suggestion="https://…")
