"""WhatsApp addresses: parsing a JID, and reading what people type into `to`."""

import re
from typing import Literal

import msgspec

from appliance.model.errors import InvalidRecipient

ChatKind = Literal["direct", "group", "status", "newsletter"]

PHONE = "s.whatsapp.net"
LID = "lid"
GROUP = "g.us"
NEWSLETTER = "newsletter"
BROADCAST = "broadcast"
STATUS_JID = "status@broadcast"

_CHAT_KINDS: dict[str, ChatKind] = {PHONE: "direct", LID: "direct", GROUP: "group", NEWSLETTER: "newsletter"}
_PHONE_USER = re.compile(r"[1-9][0-9]{4,14}\Z")
_GROUP_USER = re.compile(r"[0-9]{5,25}(-[0-9]{5,15})?\Z")
_DIGITS = re.compile(r"[0-9]{5,25}\Z")
_TYPED = re.compile(r"[\s().\-\u00a0\u2010-\u2015]+")
_SANDBOX = re.compile(r"9990000000[0-9]{2}\Z")


class Jid(msgspec.Struct, frozen=True):
    """`user@server`; the device part of an address (`user:device@server`) is dropped, a chat has none."""

    user: str
    server: str

    def __str__(self) -> str:
        return f"{self.user}@{self.server}"

    @property
    def chat_kind(self) -> ChatKind:
        """What kind of chat this address names; any broadcast list counts as `status`."""
        return _CHAT_KINDS.get(self.server, "status")

    @property
    def is_phone(self) -> bool:
        return self.server == PHONE

    @property
    def is_lid(self) -> bool:
        return self.server == LID

    @property
    def phone(self) -> str | None:
        """The digits of the phone number, or None when the address carries none (LID, group …)."""
        return self.user if self.is_phone else None

    @property
    def is_sandbox(self) -> bool:
        """A magic number `9990000000NN` or one of the sandbox groups: 999 is no country's code."""
        return (self.is_phone and _SANDBOX.match(self.user) is not None) or (
            self.server == GROUP and self.user.startswith("120363999")
        )


def parse_jid(text: str) -> Jid:
    """The address in `text`; `c.us` is read as `s.whatsapp.net`. Raises ValueError when it is not an
    address."""
    user, at, server = text.strip().partition("@")
    user = user.partition(":")[0].partition(".")[0] if server in {PHONE, "c.us", LID} else user
    if not at or not user or not server:
        raise ValueError("not a JID")
    return Jid(user, PHONE if server == "c.us" else server)


def recipient(typed: str, default_country_code: str | None = None) -> Jid:
    """Whom a person means by `typed`: digits with or without `+`, `00`, blanks and dashes, or a JID.

    A number beginning with one 0 is national: it needs `default_country_code` (digits). Raises
    InvalidRecipient.
    """
    text = typed.strip()
    if "@" in text:
        return _from_jid(text)
    digits = _TYPED.sub("", text)
    if digits.startswith("+"):
        digits = digits[1:]
    elif digits.startswith("00"):
        digits = digits[2:]
    elif digits.startswith("0") and default_country_code:
        digits = default_country_code + digits[1:]
    elif digits.startswith("0"):
        raise InvalidRecipient(
            "A number that begins with 0 needs its country code.",
            suggestion="Write it as 62811…, or set limits.default_country_code.",
        )
    if not _PHONE_USER.match(digits):
        raise InvalidRecipient("Not a phone number or a WhatsApp address.", suggestion="628111222333")
    return Jid(digits, PHONE)


def _from_jid(text: str) -> Jid:
    try:
        jid = parse_jid(text)
    except ValueError:
        raise InvalidRecipient("Not a WhatsApp address.", suggestion="628111222333@s.whatsapp.net") from None
    shapes = {PHONE: _PHONE_USER, LID: _DIGITS, GROUP: _GROUP_USER, NEWSLETTER: _DIGITS}
    shape = shapes.get(jid.server)
    if str(jid) != STATUS_JID and (shape is None or not shape.match(jid.user)):
        raise InvalidRecipient(
            "Not an address that can be sent to.",
            suggestion="…@s.whatsapp.net, …@c.us, …@g.us, …@lid, …@newsletter or status@broadcast",
        )
    return jid


def masked(address: str) -> str:
    """An address fit for a log: only its last four characters before the `@` are kept."""
    user, at, server = address.partition("@")
    return f"…{user[-4:]}{at}{server}"
