"""Messages on their way between devices: fan-out, acknowledgement, and the faults in between."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

from loopback.faults import Faults
from loopback.ledger import Accepted
from loopback.model import PHONE, Device, Wire
from loopback.network import Network
from loopback.nodes import GROUP, JID, LID, PN, Node, elem

_NO_FAULTS = Faults()
_OWN_PARTS = ("participants", "enc", "device-identity", "tctoken", "cstoken", "reporting")
_FORBIDDEN = 403


@dataclass(slots=True)
class _Mail:
    """A message stanza taken apart."""

    node: Node
    to: JID
    sender: Device
    wire_server: str  # in which form addresses are written: LID or PN
    envelopes: dict[JID, list[Node]]  # per device
    shared: list[Node]  # a group's sender-key message, or a retry aimed at one device

    @classmethod
    def read(cls, sender: Device, node: Node) -> _Mail:
        to = JID(node.attrs["to"])
        mode = node.attrs.get("addressing_mode") or (LID if to.server == LID else "pn")
        to_each = (t for p in node.children("participants") for t in p)
        envelopes = {JID(t.attrs["jid"]): t.children("enc") for t in to_each}
        return cls(node, to, sender, LID if mode == LID else PN, envelopes, node.children("enc"))

    @property
    def is_retry(self) -> bool:
        """Sent again at one device's request, or a peer message: nothing a person sent."""
        return not self.envelopes and (self.to.server != GROUP or "participant" in self.node.attrs)


def participant_hash(devices: list[Device], server: str) -> str:
    """The phash by which a client learns that its device list is stale."""
    text = "".join(sorted(d.jid(server).ad_string for d in devices))
    return "2:" + base64.b64encode(hashlib.sha256(text.encode()).digest()[:6]).decode()


async def message(net: Network, wire: Wire, node: Node) -> None:
    """Take a message from a client or a phone, pass it on, acknowledge it."""
    sender = wire.device
    assert sender is not None
    faults = net.faults if sender.id != PHONE else _NO_FAULTS
    if faults.drop_on_message:
        faults.drop_on_message -= 1
        wire.abort()
        return
    mail = _Mail.read(sender, node)
    error = faults.ack_error or _refusal(net, mail)
    if error:
        await _acknowledge(net, wire, mail, faults, {"error": error})
        return
    expected, targets = _route(net, mail)
    kept_back = bool(faults.withhold_acks or faults.drop_after_relay)
    if sender.id != PHONE and not mail.is_retry:
        entry = Accepted(node.attrs["id"], sender.pn, mail.to, time.time_ns() // 10**6, not kept_back)
        net.ledger.entries.append(entry)
    net.counters.relayed += 1
    # Phones first: what they got stands in their inbox before the sender's call returns.
    phones = {d: e for d, e in targets.items() if d.id == PHONE}
    await _deliver_all(net, mail, phones)
    stale = {d for d in expected if d is not sender} - set(targets)
    extra = {"phash": participant_hash(expected, mail.wire_server)} if stale else {}
    await _acknowledge(net, wire, mail, faults, extra)
    await _deliver_all(net, mail, {d: e for d, e in targets.items() if d.id != PHONE})


def _refusal(net: Network, mail: _Mail) -> int:
    if mail.to.server != GROUP:
        return 0
    group = net.directory.group(mail.to)
    return 0 if group and mail.sender.account.number in group.members else _FORBIDDEN


def _route(net: Network, mail: _Mail) -> tuple[list[Device], dict[Device, list[Node]]]:
    """Returns (every device that should get it, ciphertexts per device it was encrypted for)."""
    directory, node = net.directory, mail.node
    if (group := directory.group(mail.to)) is not None:
        expected = [d for a in directory.members(group) for d in a.devices.values()]
        if "participant" in node.attrs:
            only = directory.device(JID(node.attrs["participant"]))
            return [], {only: mail.shared} if only else {}
        fallback: list[Node] = []
        own = {d: mail.envelopes.get(d.jid(mail.wire_server)) or mail.envelopes.get(d.pn) for d in expected}
        return expected, {d: (encs or fallback) + mail.shared for d, encs in own.items()}
    if not mail.envelopes:
        only = directory.device(mail.to)
        return [], {only: mail.shared} if only else {}
    accounts = dict.fromkeys(a for a in (directory.account(mail.to), mail.sender.account) if a)
    expected = [d for a in accounts for d in a.devices.values()]
    found = {directory.device(jid): encs + mail.shared for jid, encs in mail.envelopes.items()}
    return expected, {d: encs for d, encs in found.items() if d is not None}


async def _deliver_all(net: Network, mail: _Mail, targets: dict[Device, list[Node]]) -> None:
    identity = mail.node.child("device-identity")
    extras = [c for c in mail.node if c.tag not in _OWN_PARTS]
    for target, encs in targets.items():
        if target is mail.sender or not encs:
            continue
        body = [*encs, *extras]
        if identity is not None and any(e.attrs.get("type") == "pkmsg" for e in encs):
            body.append(identity)
        await net.deliver(target, elem("message", _head(mail, target), body))


def _head(mail: _Mail, target: Device) -> dict[str, object]:
    """The attributes as the receiving device sees them."""
    node, sender, account = mail.node, mail.sender, mail.sender.account
    head: dict[str, object] = {
        "id": node.attrs["id"],
        "t": node.attrs.get("t") or int(time.time()),
        "type": node.attrs.get("type", "text"),
        "notify": account.name,
        "edit": node.attrs.get("edit"),
        "category": node.attrs.get("category"),
    }
    by_lid = mail.wire_server == LID
    other = account.shown_pn if by_lid else account.lid
    if mail.to.server in (GROUP, "broadcast"):
        mode = LID if by_lid else "pn"
        head |= {"from": mail.to, "participant": sender.jid(mail.wire_server), "addressing_mode": mode}
        head["participant_pn" if by_lid else "participant_lid"] = other
        return head
    head |= {"from": sender.jid(mail.wire_server), "sender_pn" if by_lid else "sender_lid": other}
    if target.account is account:
        recipient = JID(node.attrs.get("recipient", mail.to)).bare if mail.is_retry else mail.to.bare
        head |= {"recipient": recipient, "peer_recipient_pn": node.attrs.get("peer_recipient_pn")}
    return head


async def _acknowledge(
    net: Network, wire: Wire, mail: _Mail, faults: Faults, extra: Mapping[str, object]
) -> None:
    head = {"class": "message", "id": mail.node.attrs["id"], "from": mail.to, "t": int(time.time())}
    ack = elem("ack", {**head, **extra})
    if faults.drop_after_relay:
        faults.drop_after_relay -= 1
        wire.abort()
    elif faults.withhold_acks:
        return
    elif faults.ack_delay_s:
        net.spawn(_later(faults.ack_delay_s, wire, ack))
    else:
        await wire.send(ack)


async def _later(delay_s: float, wire: Wire, node: Node) -> None:
    await asyncio.sleep(delay_s)
    await wire.send(node)
