"""The addresses of pretend people: every phone number has a LID of its own, some people show only a LID."""

import hashlib
import secrets

import msgspec

from appliance.engine.base import PretendMessage
from appliance.model.jid import LID, PHONE, Jid

OWNER_PHONE = "999000000000"
STRANGER_PHONE = "999000000010"


class Owner(msgspec.Struct, frozen=True):
    """Whose pretend phone the device is linked to."""

    phone: str
    push_name: str | None

    @property
    def jid(self) -> str:
        return phone_jid(self.phone)

    @property
    def lid(self) -> str:
        return lid_jid(lid_of(self.phone))


class Envelope(msgspec.Struct, frozen=True):
    """Who writes where: `chat` and `sender` with their other forms, and the account's own JID `me`."""

    chat: str
    chat_alt: str | None
    sender: str
    sender_alt: str | None
    me: str
    wa_id: str
    timestamp: int


def envelope(message: PretendMessage, owner: Owner, now_s: int) -> Envelope:
    """The addresses of a message: LIDs first, as WhatsApp gives them today, the phone beside it if it is
    known."""
    other = _other(message)
    sender = (owner.lid, owner.jid) if message.from_me else other
    chat = (message.group, None) if message.group else other
    return Envelope(
        *chat,
        *sender,
        me=owner.jid,
        wa_id=message.wa_id or their_message_id(),
        timestamp=now_s if message.timestamp is None else message.timestamp,
    )


def address(jid: Jid) -> tuple[str, str | None]:
    """The address as WhatsApp gives it, and its other form: a phone has both."""
    return (lid_jid(lid_of(jid.user)), str(jid)) if jid.is_phone else (str(jid), None)


def name_of(user: str) -> str:
    """What pretend people call themselves."""
    return f"Sandbox {user[-2:]}"


def phone_jid(phone: str) -> str:
    return f"{phone}@{PHONE}"


def lid_of(phone: str) -> str:
    """The LID (15 digits) of a pretend phone number, always the same one."""
    return _digits(f"lid {phone}")


def hidden_lid_of(phone: str) -> str:
    """The LID under which that person writes without showing a number; it is no known pair of the phone."""
    return _digits(f"hidden lid {phone}")


def lid_jid(lid: str) -> str:
    return f"{lid}@{LID}"


def our_message_id() -> str:
    """A fresh id of the form that linked WhatsApp-Web clients give their messages."""
    return "3EB0" + secrets.token_hex(9).upper()


def their_message_id() -> str:
    """A fresh id of the form that phones give their messages."""
    return "3A" + secrets.token_hex(9).upper()


def _other(message: PretendMessage) -> tuple[str, str | None]:
    if message.phone is None and message.lid is not None:
        return lid_jid(message.lid), None
    phone = message.phone or STRANGER_PHONE
    if message.hidden:
        return lid_jid(message.lid or hidden_lid_of(phone)), None
    return lid_jid(message.lid or lid_of(phone)), phone_jid(phone)


def _digits(seed: str) -> str:
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    return str(10**14 + number % (9 * 10**14))
