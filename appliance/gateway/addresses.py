"""Decides to which addresses the gateway may connect on somebody else's word (server-side request forgery).

An address is judged as it was *resolved*, never by its name, and in whatever form it comes. Sources: the
IANA special-purpose registries for IPv4 and IPv6, RFC 6052 and 8215 (NAT64), RFC 5214 (ISATAP).
"""

import socket
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

from appliance.gateway.allow_list import AllowRule, Network, parse_rule

Address = IPv4Address | IPv6Address


class Reason(StrEnum):
    """Why an address is refused."""

    LOOPBACK = "loopback"
    PRIVATE = "private"
    LINK_LOCAL = "link_local"
    SHARED = "shared"
    """Carrier-grade NAT, 100.64.0.0/10."""
    BENCHMARKING = "benchmarking"
    DOCUMENTATION = "documentation"
    RESERVED = "reserved"
    METADATA = "metadata"
    """Where clouds hand their machines' credentials out."""
    MULTICAST = "multicast"
    BROADCAST = "broadcast"
    UNSPECIFIED = "unspecified"
    TUNNEL = "tunnel"
    """6to4, Teredo, ISATAP, local NAT64: another address may be hidden inside."""
    OWN_ADDRESS = "own_address"
    """The gateway itself."""
    PORT = "port"
    """A port of another protocol, which a request could be mistaken for."""
    SCHEME = "scheme"
    USERINFO = "userinfo"
    NOTATION = "notation"
    """An IP address in a notation that programs read differently."""
    MALFORMED = "malformed"


_NEVER = frozenset(
    {Reason.METADATA, Reason.MULTICAST, Reason.BROADCAST, Reason.UNSPECIFIED, Reason.TUNNEL}
)  # fmt: skip

_METADATA = frozenset(
    ip_address(text)
    for text in (
        *("169.254.169.254", "fd00:ec2::254", "fd20:ce::254"),
        *("169.254.170.2", "169.254.170.23", "fd00:ec2::23"),
        *("168.63.129.16", "100.100.100.200", "192.0.0.192"),
    )
)

# The first network that holds the address counts.
_SPECIAL: tuple[tuple[Network, Reason], ...] = tuple(
    (ip_network(text), reason)
    for text, reason in (
        ("0.0.0.0/8", Reason.UNSPECIFIED),
        ("10.0.0.0/8", Reason.PRIVATE),
        ("100.64.0.0/10", Reason.SHARED),
        ("127.0.0.0/8", Reason.LOOPBACK),
        ("169.254.0.0/16", Reason.LINK_LOCAL),
        ("172.16.0.0/12", Reason.PRIVATE),
        ("192.0.0.0/24", Reason.RESERVED),
        ("192.0.2.0/24", Reason.DOCUMENTATION),
        ("192.88.99.0/24", Reason.TUNNEL),
        ("192.168.0.0/16", Reason.PRIVATE),
        ("198.18.0.0/15", Reason.BENCHMARKING),
        ("198.51.100.0/24", Reason.DOCUMENTATION),
        ("203.0.113.0/24", Reason.DOCUMENTATION),
        ("224.0.0.0/4", Reason.MULTICAST),
        ("255.255.255.255/32", Reason.BROADCAST),
        ("240.0.0.0/4", Reason.RESERVED),
        ("::/128", Reason.UNSPECIFIED),
        ("::1/128", Reason.LOOPBACK),
        ("64:ff9b:1::/48", Reason.TUNNEL),
        ("2001::/32", Reason.TUNNEL),
        ("2001:2::/48", Reason.BENCHMARKING),
        ("2001::/23", Reason.RESERVED),
        ("2001:db8::/32", Reason.DOCUMENTATION),
        ("2002::/16", Reason.TUNNEL),
        ("3fff::/20", Reason.DOCUMENTATION),
        ("fc00::/7", Reason.PRIVATE),
        ("fe80::/10", Reason.LINK_LOCAL),
        ("ff00::/8", Reason.MULTICAST),
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP_MASK, _ISATAP = 0xFCFFFFFF, 0x00005EFE

# "Bad ports" of the WHATWG Fetch standard, which browsers refuse for the same reason.
BAD_PORTS = frozenset(
    {
        0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
        102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
        465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
        993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667,
        6668, 6669, 6679, 6697, 10080,
    }
)  # fmt: skip


class AddressForbidden(Exception):
    """The gateway may not connect there.

    `setting` is the configuration that would allow it, None when none does. The message never tells what a
    name resolved to: the caller may be asking in order to learn that.
    """

    def __init__(self, reason: Reason, setting: str | None = None) -> None:
        hint = f"; {setting} would allow it" if setting else ""
        super().__init__(f"the address may not be used ({reason.value}){hint}")
        self.reason = reason
        self.setting = setting


@dataclass(frozen=True)
class Policy:
    """Public addresses are allowed, others as `rules` say, the gateway's `own` (host, port) never.

    `setting` is the configuration key behind the rules, named in refusals; None where nothing is to be set.
    """

    rules: tuple[AllowRule, ...] = ()
    own: tuple[tuple[str, int], ...] = field(default=())
    setting: str | None = None

    @classmethod
    def parse(cls, entries: list[str], setting: str | None = None) -> Self:
        """The policy of an allow list (grammar: `allow_list`). Raises AllowEntryInvalid."""
        return cls(rules=tuple(parse_rule(entry) for entry in entries), setting=setting)

    def with_own(self, host: str, port: int) -> Self:
        """The same, refusing `host`:`port` too, where the gateway listens (0.0.0.0 and :: mean anywhere)."""
        return replace(self, own=(*self.own, (host.rstrip(".").lower(), port)))


PUBLIC_ONLY = Policy()


def check(address: str | Address, port: int, policy: Policy, host: str | None = None) -> None:
    """Raises AddressForbidden unless `policy` allows a connection to `address`:`port`.

    `address` is numeric and resolved; `host` is the name it came from, for rules that name hosts.
    """
    plain = unwrapped(ip_address(address))
    name = (host or str(plain)).rstrip(".").lower()
    if _is_own(plain, name, port, policy):
        raise AddressForbidden(Reason.OWN_ADDRESS)
    reason = special(plain)
    if reason in _NEVER:
        raise AddressForbidden(reason)
    word = reason.value if reason else None
    matching = [rule for rule in policy.rules if rule.matches(plain, port, name, word)]
    if reason and not matching:
        entry = word if reason in (Reason.PRIVATE, Reason.LOOPBACK) else name
        raise AddressForbidden(reason, _setting(policy, entry))
    if port in BAD_PORTS and not any(rule.port == port for rule in matching):
        raise AddressForbidden(
            Reason.PORT, _setting(policy, f"[{name}]:{port}" if ":" in name else f"{name}:{port}")
        )


def permitted(addresses: list[str], port: int, policy: Policy, host: str | None = None) -> list[str]:
    """Those of `addresses` that `check` allows; raises the first one's AddressForbidden when none is."""
    allowed: list[str] = []
    refusals: list[AddressForbidden] = []
    for address in addresses:
        try:
            check(address, port, policy, host)
        except AddressForbidden as refusal:
            refusals.append(refusal)
        else:
            allowed.append(address)
    if refusals and not allowed:
        raise refusals[0]
    return allowed


def special(address: Address) -> Reason | None:
    """What `address` is when it is not a public unicast address; None when it is one."""
    if address in _METADATA:
        return Reason.METADATA
    for network, reason in _SPECIAL:
        if address in network:
            return reason
    if isinstance(address, IPv6Address):
        if address not in _GLOBAL_V6:
            return Reason.RESERVED
        if (int(address) >> 32) & _ISATAP_MASK == _ISATAP:
            return Reason.TUNNEL
    return None


def unwrapped(address: Address) -> Address:
    """The address that is really reached: IPv4 out of its mapped and NAT64 forms, IPv6 without its zone."""
    if isinstance(address, IPv4Address):
        return address
    plain = IPv6Address(int(address))
    if plain in _NAT64:
        return IPv4Address(int(plain) & 0xFFFFFFFF)
    return plain.ipv4_mapped or plain


def _is_own(address: Address, name: str, port: int, policy: Policy) -> bool:
    return any(port == own_port and _is_host(address, name, own) for own, own_port in policy.own)


def _is_host(address: Address, name: str, own: str) -> bool:
    if own in ("", "localhost"):
        own = "::" if own == "" else "127.0.0.1"
    try:
        own_address = unwrapped(ip_address(own))
    except ValueError:
        return name == own
    if own_address.is_unspecified:
        return address.is_unspecified or _is_local(address)
    return address == own_address or (own_address.is_loopback and address.is_loopback)


def _is_local(address: Address) -> bool:
    """Whether `address` is one of this machine's: only those can be bound."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _setting(policy: Policy, entry: str | None) -> str | None:
    return f'{policy.setting} = ["{entry}"]' if policy.setting else None
