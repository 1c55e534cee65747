"""A phone's locks and keys: sealing for one device or a group, and opening what others sealed."""

from __future__ import annotations

from typing import Any

from loopback.model import Account, Device
from loopback.nodes import JID, Node, elem
from loopback.protos import e2e
from loopback.ratchet import Endpoint, Undecryptable
from loopback.senderkeys import SenderKey


class PhoneCipher:
    """The Signal sessions and sender keys of one phone."""

    def __init__(self, account: Account) -> None:
        registration = int.from_bytes(account.phone.keys.registration, "big")
        self._endpoint = Endpoint(account.identity, account.signed, registration)
        self._own_keys: dict[str, SenderKey] = {}
        self._their_keys: dict[tuple[str, str], SenderKey] = {}

    def seal(self, device: Device, plain: bytes, *, count: int = 0, spoiled: bool = False) -> Node:
        """The `<enc>` for one device. `count` numbers a retry; `spoiled` makes it impossible to open."""
        if not self._endpoint.knows(device.lid):
            self._endpoint.start(device.lid, device.keys.take())
        kind, body = self._endpoint.encrypt(device.lid, plain)
        if spoiled:
            body = body[:-1] + bytes((body[-1] ^ 1,))
        return elem("enc", {"v": "2", "type": kind, "count": count or None}, body)

    def renew(self, device: Device) -> None:
        """Begin a new session with a device that could not open what we sent."""
        self._endpoint.start(device.lid, device.keys.take())

    def forget(self, device: Device) -> None:
        """Lose the sessions with a device, as a reinstalled phone does."""
        self._endpoint.forget(device.lid)

    def group_seal(self, group: JID, plain: bytes, *, spoiled: bool = False) -> Node:
        """The `<enc type=skmsg>` that all members share."""
        body = self._own_key(group).encrypt(plain)
        if spoiled:
            body = body[:-1] + bytes((body[-1] ^ 1,))
        return elem("enc", {"v": "2", "type": "skmsg"}, body)

    def distribution(self, group: JID) -> Any:
        """The message that hands our sender key to a member's device."""
        key = self._own_key(group).distribution()
        content = {"groupID": group, "axolotlSenderKeyDistributionMessage": key}
        return e2e.Message(senderKeyDistributionMessage=content)

    def _own_key(self, group: JID) -> SenderKey:
        if group not in self._own_keys:
            self._own_keys[group] = SenderKey.generate()
        return self._own_keys[group]

    def open(self, chat: JID, sender: JID, device: Device | None, enc: Node) -> Any:
        """Returns the waE2E Message. Raises Undecryptable."""
        if enc.attrs["type"] == "skmsg":
            if (key := self._their_keys.get((chat, sender))) is None:
                raise Undecryptable("no sender key")
            plain = key.decrypt(enc.data)
        else:
            # Sessions are known by LID, also when the stanza says a number.
            address = device.lid if device is not None else sender
            plain = self._endpoint.decrypt(address, enc.attrs["type"], enc.data)
        message = e2e.Message.FromString(plain)
        if message.HasField("senderKeyDistributionMessage"):
            raw = message.senderKeyDistributionMessage.axolotlSenderKeyDistributionMessage
            self._their_keys[chat, sender] = SenderKey.from_distribution(raw)
            message.ClearField("senderKeyDistributionMessage")
        return message
