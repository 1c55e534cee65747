"""JIDs between the library's protobuf and text."""

from typing import Any

from appliance.engine.worker.protos import NEONIZE
from appliance.model.jid import LID, PHONE

_HOSTED = {"hosted": PHONE, "hosted.lid": LID, "c.us": PHONE}


def text_of(jid: Any) -> str | None:
    """The address without its device part; None for the empty JID. Accounts hosted by Meta count as plain."""
    if not jid.Server:
        return None
    server = _HOSTED.get(jid.Server, jid.Server)
    return f"{jid.User}@{server}" if jid.User else None


def proto_of(address: str) -> bytes:
    """The address as the library's calls take it."""
    user, _, server = address.rpartition("@")
    jid = NEONIZE.JID(User=user, RawAgent=0, Device=0, Integrator=0, Server=server, IsEmpty=False)
    return bytes(jid.SerializeToString())


def phone_of(address: str | None) -> str | None:
    """The digits of a phone JID, else None."""
    user, _, server = (address or "").rpartition("@")
    return user if server == PHONE else None


def is_lid(address: str | None) -> bool:
    return address is not None and address.endswith("@" + LID)
