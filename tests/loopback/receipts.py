"""Receipts on their way back to a message's sender, and the acks that empty a device's backlog."""

from __future__ import annotations

import time

from loopback.model import Device, Wire, pending_key
from loopback.network import Network
from loopback.nodes import GROUP, JID, Node, elem

_LATER_KINDS = ("read", "read-self", "played", "played-self")
_ONE_DEVICE_KINDS = ("sender", "peer_msg")


async def receipt(net: Network, wire: Wire, node: Node) -> None:
    """Take a receipt from a client or a phone and pass it to whom it concerns."""
    sender = wire.device
    assert sender is not None
    attrs, to = node.attrs, JID(node.attrs["to"])
    kind = attrs.get("type")
    # Any other receipt proves that the message has arrived at this device.
    if kind not in _LATER_KINDS and sender.pending.pop(pending_key("message", attrs, "to"), None) is not None:
        net.ledger.taken[attrs["id"]] = time.monotonic()
    head = {"class": "receipt", "id": attrs["id"], "from": to}
    await wire.send(elem("ack", {**head, "type": kind, "participant": attrs.get("participant")}))
    in_group = to.server in (GROUP, "broadcast")
    target = JID(attrs["participant"]) if in_group and "participant" in attrs else to
    if (account := net.directory.account(target)) is None:
        return
    out = elem("receipt", _head(sender, node, target.server if in_group else to.server), node.content)
    for device in _audience(kind, target, list(account.devices.values())):
        if device is not sender:
            await net.deliver(device, out)
    if kind == "read" and account is not sender.account and not in_group:
        await _tell_own_devices(net, sender, node)


def _head(sender: Device, node: Node, server: str) -> dict[str, object]:
    attrs, to = node.attrs, JID(node.attrs["to"])
    head: dict[str, object] = {"id": attrs["id"], "type": attrs.get("type")}
    head["t"] = attrs.get("t") or int(time.time())
    if to.server in (GROUP, "broadcast"):
        return head | {"from": to, "participant": sender.jid(server)}
    return head | {"from": sender.jid(server), "recipient": attrs.get("recipient")}


def _audience(kind: str | None, target: JID, devices: list[Device]) -> list[Device]:
    """A retry concerns the one device that sent the message; the rest concerns the account."""
    if kind == "retry" or (kind in _ONE_DEVICE_KINDS and target.device):
        return [d for d in devices if d.id == target.device]
    return devices


async def _tell_own_devices(net: Network, sender: Device, node: Node) -> None:
    to = JID(node.attrs["to"])
    head = {"id": node.attrs["id"], "type": "read-self", "t": node.attrs.get("t") or int(time.time())}
    own = elem("receipt", {**head, "from": sender.jid(to.server), "recipient": to.bare}, node.content)
    for device in sender.account.companions:
        if device is not sender:
            await net.deliver(device, own)


async def ack(net: Network, wire: Wire, node: Node) -> None:
    """A client has handled a notification or a receipt."""
    if wire.device is not None:
        wire.device.pending.pop(pending_key(node.attrs.get("class", ""), node.attrs, "to"), None)
