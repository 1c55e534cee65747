"""Reads a URL that somebody gave the gateway to connect to, and refuses what can be read in two ways."""

import re
import unicodedata
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from appliance.gateway.addresses import Address, AddressForbidden, Policy, Reason, check
from appliance.gateway.allow_list import looks_numeric

_DEFAULT_PORTS = {"http": 80, "https": 443}
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")


class Target(NamedTuple):
    """Where a URL leads: `host` in lower-case ASCII without the final dot."""

    scheme: str
    host: str
    port: int


def check_url(url: str, policy: Policy) -> Target:
    """Where `url` leads, judged by what can be said without resolving a name.

    Raises AddressForbidden: another scheme than http and https, user information, an unusual IP notation, an
    unreadable host or port, and an IP address (or `localhost`) that `policy` forbids.
    """
    parts = _split(url)
    if parts.scheme not in _DEFAULT_PORTS:
        raise AddressForbidden(Reason.SCHEME)
    if "@" in parts.netloc:
        raise AddressForbidden(Reason.USERINFO)
    target = Target(parts.scheme, _host(parts), _port(parts))
    address = literal_address(target.host)
    if address is None and (target.host == "localhost" or target.host.endswith(".localhost")):
        address = IPv4Address("127.0.0.1")
    if address is not None:
        check(address, target.port, policy, target.host)
    return target


def literal_address(host: str) -> Address | None:
    """The IP address that `host` is, None when it is a name.

    Raises AddressForbidden for notations that programs read differently: `127.1`, `0x7f.1`, `2130706433`,
    `0177.0.0.1`, a final dot, a zone.
    """
    try:
        if ":" in host:
            address = IPv6Address(host)
            if address.scope_id is None:
                return address
            raise AddressForbidden(Reason.NOTATION)
        return IPv4Address(host) if looks_numeric(host) else None
    except AddressValueError as error:
        raise AddressForbidden(Reason.NOTATION) from error


def _split(url: str) -> SplitResult:
    if _AMBIGUOUS.search(url):
        raise AddressForbidden(Reason.MALFORMED)
    try:
        return urlsplit(url)
    except ValueError as error:
        raise AddressForbidden(Reason.MALFORMED) from error


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if not host.isascii():
        host = _in_ascii(host)
    if "%" in host and ":" in host:
        raise AddressForbidden(Reason.NOTATION)
    if "%" in host or ("[" in parts.netloc and ":" not in host):
        raise AddressForbidden(Reason.MALFORMED)
    name = host if looks_numeric(host) else host.removesuffix(".")
    if not name or ".." in name or name.startswith("."):
        raise AddressForbidden(Reason.MALFORMED)
    return name


def _in_ascii(host: str) -> str:
    folded = unicodedata.normalize("NFKC", host).replace("\u3002", ".").lower()
    if looks_numeric(folded):
        # Full-width and circled digits: an address in disguise.
        raise AddressForbidden(Reason.NOTATION)
    try:
        return folded.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise AddressForbidden(Reason.MALFORMED) from error


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError as error:
        raise AddressForbidden(Reason.PORT) from error
    if port == 0:
        raise AddressForbidden(Reason.PORT)
    return port or _DEFAULT_PORTS[parts.scheme]
