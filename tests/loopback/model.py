"""What the server remembers of people: accounts, their devices, and groups."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from loopback.curve import KeyPair
from loopback.nodes import GROUP, JID, LID, PN, Node
from loopback.ratchet import Prekeys

PHONE = 0  # the device number of the phone itself


class Wire(Protocol):
    """Whatever stanzas come from and answers go to: a client's connection, or a virtual phone."""

    @property
    def device(self) -> Device | None: ...

    async def send(self, node: Node) -> bool: ...

    def abort(self) -> None: ...


@dataclass(eq=False, slots=True)
class KeyBundle:
    """Public Signal keys of a device, as they are served to other clients."""

    registration: bytes
    identity: bytes
    signed_id: bytes
    signed_key: bytes
    signature: bytes
    one_time: OrderedDict[bytes, bytes] = field(default_factory=OrderedDict)

    def take(self) -> Prekeys:
        """The keys for one new session; uses up a one-time key if there is one."""
        one = self.one_time.popitem(last=False) if self.one_time else None
        one_time = (int.from_bytes(one[0], "big"), one[1]) if one else None
        return Prekeys(self.identity, int.from_bytes(self.signed_id, "big"), self.signed_key, one_time)


Pending = tuple[str, str, str]
"""What a client acknowledges: tag, id, and whose it is. A receipt's id is that of its message, so that
several receipts have the same."""


def pending_key(tag: str, attrs: Mapping[str, str], other: str) -> Pending:
    """The key of a stanza (`other` is "from") and of its acknowledgement ("to"). For a message the id will
    do."""
    source = "" if tag == "message" else f"{attrs.get(other)} {attrs.get('type')}"
    return tag, attrs.get("id", ""), source


@dataclass(eq=False)
class Device:
    """A phone (number 0) or a linked companion."""

    account: Account
    id: int
    noise_public: bytes
    keys: KeyBundle
    pending: OrderedDict[Pending, Node] = field(default_factory=OrderedDict)  # not yet acknowledged
    wire: Wire | None = None
    greeted: bool = False  # the phone has handed over its app-state key
    available: bool = False

    @property
    def pn(self) -> JID:
        return JID.of(self.account.number, PN, self.id)

    @property
    def lid(self) -> JID:
        return JID.of(self.account.lid_user, LID, self.id)

    def jid(self, server: str) -> JID:
        return self.lid if server == LID else self.pn

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "wire": None, "available": False}


@dataclass(eq=False)
class Account:
    """One WhatsApp account: a number, its LID, its phone and the companions linked to it."""

    number: str
    name: str
    lid_user: str
    number_hidden: bool = False  # others see only the LID, never the number
    identity: KeyPair = field(default_factory=KeyPair.generate)
    signed: KeyPair = field(default_factory=KeyPair.generate)
    devices: dict[int, Device] = field(default_factory=dict)
    next_device: int = 1
    about: str = "Hey there! I am using WhatsApp."
    blocked: list[str] = field(default_factory=list)
    privacy: dict[str, str] = field(default_factory=dict)
    subscribers: set[str] = field(default_factory=set)  # account numbers that follow this presence
    picture: bytes | None = None

    def __post_init__(self) -> None:
        signature = self.identity.sign(b"\5" + self.signed.public)
        registration = b"\0" + os.urandom(3)
        keys = KeyBundle(registration, self.identity.public, b"\0\0\1", self.signed.public, signature)
        self.devices[PHONE] = Device(self, PHONE, b"", keys)

    @property
    def phone(self) -> Device:
        return self.devices[PHONE]

    @property
    def companions(self) -> list[Device]:
        return [d for d in self.devices.values() if d.id != PHONE]

    @property
    def pn(self) -> JID:
        return JID.of(self.number, PN)

    @property
    def lid(self) -> JID:
        return JID.of(self.lid_user, LID)

    @property
    def shown_pn(self) -> JID | None:
        """The number as others may see it in stanzas."""
        return None if self.number_hidden else self.pn


@dataclass(eq=False)
class Group:
    """A group chat; roles are "", "admin" or "superadmin"."""

    id: str
    subject: str
    creator: Account
    members: dict[str, str]  # account number -> role
    created_at_s: int = field(default_factory=lambda: int(time.time()))
    about: str = ""
    about_id: str = ""
    invite: str = ""
    picture: bytes | None = None
    flags: set[str] = field(default_factory=set)  # locked, announcement

    @property
    def jid(self) -> JID:
        return JID.of(self.id, GROUP)
