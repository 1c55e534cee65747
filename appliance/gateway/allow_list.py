"""The allow list of the configuration: which addresses that are not public may be connected to all the same.

An entry is `target` or `target:port`; without a port it means every port but those of other protocols.

    private               10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7
    loopback              127.0.0.0/8, ::1
    192.168.1.5           one address
    192.168.1.0/24        a network
    fd00::1, fd00::/8     the same in IPv6; with a port: [fd00::1]:8080, [fd00::/8]:8080
    nas.example           a host name, whatever it resolves to
    *.lan                 every name below `lan`, not `lan` itself

Metadata services, multicast, broadcast, unspecified and tunnel addresses, and the gateway itself, stay
forbidden whatever is listed.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from appliance.model.told import Told

Network = IPv4Network | IPv6Network

_WORDS = ("private", "loopback")
_HOST = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_MAPPED = IPv6Network("::ffff:0:0/96")


class AllowEntryInvalid(Told, ValueError):
    """An entry of the allow list that says nothing; the message names the entry and what is wrong."""


@dataclass(frozen=True)
class AllowRule:
    """One entry: exactly one of `word`, `network` and `host` is set; `port` None means any."""

    word: str | None = None
    network: Network | None = None
    host: str | None = None
    port: int | None = None

    def matches(self, address: IPv4Address | IPv6Address, port: int, name: str, word: str | None) -> bool:
        """Whether this entry names `address`, of kind `word`, reached by the lower-case host `name`."""
        if self.port not in (None, port):
            return False
        if self.network is not None:
            return address in self.network
        if self.host is None:
            return self.word == word
        return name.endswith(self.host[1:]) if self.host.startswith("*.") else name == self.host


def parse_rule(entry: str) -> AllowRule:
    """Reads one entry. Raises AllowEntryInvalid."""
    target, port = _split(entry)
    if target in _WORDS:
        return AllowRule(word=target, port=port)
    if looks_numeric(target) or ":" in target or "/" in target:
        return AllowRule(network=_network(entry, target), port=port)
    if not _HOST.fullmatch(target) or ".." in target:
        raise AllowEntryInvalid(f"{entry!r}: not an address, a network or a host name")
    return AllowRule(host=target, port=port)


def looks_numeric(host: str) -> bool:
    """Whether a URL parser takes `host` for an IPv4 address (WHATWG URL, "ends in a number")."""
    last = host.rstrip(".").rpartition(".")[2]
    return last.isdecimal() or re.fullmatch(r"0[xX][0-9a-fA-F]*", last) is not None


def _split(entry: str) -> tuple[str, int | None]:
    text = entry.strip().lower()
    if text.startswith("["):
        target, closed, rest = text[1:].partition("]")
        if not closed or ":" not in target or (rest and not rest.startswith(":")):
            raise AllowEntryInvalid(f"{entry!r}: brackets go around an IPv6 address or network")
        return target, _port(entry, rest[1:]) if rest else None
    if text.count(":") != 1:
        return text, None
    target, _, port = text.partition(":")
    return target, _port(entry, port)


def _port(entry: str, text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise AllowEntryInvalid(f"{entry!r}: a port is a number from 1 to 65535")
    return int(text)


def _network(entry: str, target: str) -> Network:
    try:
        network = ip_network(target)
    except ValueError as error:
        raise AllowEntryInvalid(f"{entry!r}: {error}") from error
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        raise AllowEntryInvalid(f"{entry!r}: write an IPv4 address in its own notation")
    return network
