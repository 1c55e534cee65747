"""Who is online, and who is typing."""

from __future__ import annotations

import time

from loopback.model import Account, Wire
from loopback.network import Network
from loopback.nodes import GROUP, JID, LID, Node, elem


async def presence(net: Network, wire: Wire, node: Node) -> None:
    device, kind = wire.device, node.attrs.get("type", "available")
    assert device is not None
    account = device.account
    if kind == "subscribe":
        target = JID(node.attrs["to"])
        if (followed := net.directory.account(target)) is not None:
            followed.subscribers.add(account.number)
            await _tell(followed, account, target.server)
    elif kind in ("available", "unavailable"):
        device.available = kind == "available"
        account.name = node.attrs.get("name") or account.name
        for number in account.subscribers:
            await _tell(account, net.directory.accounts[number], LID)


async def _tell(of: Account, to: Account, server: str) -> None:
    online = any(d.available and d.wire for d in of.companions)
    head: dict[str, object] = {"from": of.phone.jid(server)}
    if not online:
        head |= {"type": "unavailable", "last": int(time.time())}
    for device in to.companions:
        if device.wire:
            await device.wire.send(elem("presence", head))


async def chatstate(net: Network, wire: Wire, node: Node) -> None:
    """Typing is told to who is online now, and kept for nobody."""
    sender, to = wire.device, JID(node.attrs["to"])
    assert sender is not None
    head: dict[str, object] = {"from": sender.jid(to.server).bare}
    if to.server == GROUP:
        group = net.directory.group(to)
        people = net.directory.members(group) if group else []
        head = {"from": to, "participant": sender.lid.bare}
    else:
        target = net.directory.account(to)
        people = [target] if target else []
    for account in people:
        for device in account.companions:
            if device.wire and account is not sender.account:
                await device.wire.send(elem("chatstate", head, node.content))
