"""One person, one address: LIDs are turned into phone JIDs as soon as the pair is known."""

from typing import Any

from appliance.model.jid import Jid, parse_jid
from appliance.store import devices
from appliance.store.database import Transaction


class Addressing:
    """What a transaction knows of a device's addresses; learns pairs as it meets them."""

    def __init__(self, tx: Transaction, device_id: str) -> None:
        self._tx = tx
        self._device_id = device_id

    def canonical(self, jid: str, alt: str | None = None) -> str:
        """The phone JID when it is known, else the address as it is; a pair of both forms is remembered."""
        address, other = parse_jid(jid), parse_jid(alt) if alt else None
        if other is not None and {address.server, other.server} == {"lid", "s.whatsapp.net"}:
            lid, phone = (address, other) if address.is_lid else (other, address)
            devices.learn_pair(self._tx, self._device_id, str(lid), str(phone))
            return str(phone)
        if address.is_lid:
            return self._tx.one(devices.phone_of(self._device_id, str(address))) or str(address)
        return str(address)

    def lid(self, jid: str) -> str | None:
        """The LID of a canonical address, if known."""
        if parse_jid(jid).is_lid:
            return jid
        return self._tx.one(devices.lid_of(self._device_id, jid))

    def person(self, jid: str, push_name: str | None) -> dict[str, Any]:
        """`sender` of the contract: canonical address, phone digits or null, LID or null, push name or
        null."""
        address: Jid = parse_jid(jid)
        return {"jid": jid, "phone": address.phone, "lid": self.lid(jid), "pushName": push_name}

    def chat(self, jid: str) -> dict[str, Any]:
        """`chat` of the contract: its kind and its name, if it has one that is known."""
        name = self._tx.one(devices.chat_name(self._device_id, jid))
        return {"kind": parse_jid(jid).chat_kind, "name": name}
