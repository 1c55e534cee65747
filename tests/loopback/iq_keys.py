"""Queries about Signal keys: a client uploads its own and fetches others'."""

from __future__ import annotations

from collections import OrderedDict

from loopback.model import Device
from loopback.network import Network
from loopback.nodes import JID, Node, elem
from loopback.queries import GET, NOT_FOUND, SET, Query, Reply, Table

_LOW_WATER = 5


def _read_key(node: Node) -> tuple[bytes, bytes]:
    return node.require("id").data, node.require("value").data


async def upload(query: Query) -> Reply:
    keys, node = query.device.keys, query.node
    if (listed := node.child("list")) is not None:
        keys.one_time.update(OrderedDict(_read_key(k) for k in listed))
    for signed in (node.child("skey"), node.child("rotate", "skey")):
        if signed is not None:
            keys.signed_id, keys.signed_key = _read_key(signed)
            keys.signature = signed.require("signature").data
    if (registration := node.child("registration")) is not None:
        keys.registration = registration.data
    return None


async def fetch(query: Query) -> Reply:
    if query.node.child("count") is not None:
        return [elem("count", {"value": len(query.device.keys.one_time)})]
    # Baileys also asks for a `<digest/>` of its own keys; an empty list makes it upload them afresh.
    wanted = query.node.child("key") or ()
    users = [await _bundle(query.net, JID(u.attrs["jid"])) for u in wanted]
    return [elem("list", None, users)]


async def _bundle(net: Network, jid: JID) -> Node:
    device = net.directory.device(jid)
    if device is None:
        code, text = NOT_FOUND
        return elem("user", {"jid": jid}, [elem("error", {"code": code, "text": text})])
    keys = device.keys
    signed = {"id": keys.signed_id, "value": keys.signed_key, "signature": keys.signature}
    body = [
        elem("registration", None, keys.registration),
        elem("type", None, b"\5"),
        elem("identity", None, keys.identity),
        elem("skey", None, [elem(tag, None, value) for tag, value in signed.items()]),
    ]
    if keys.one_time:
        ident, value = keys.one_time.popitem(last=False)
        body.append(elem("key", None, [elem("id", None, ident), elem("value", None, value)]))
        await _ask_for_more(net, device)
    return elem("user", {"jid": jid}, body)


async def _ask_for_more(net: Network, device: Device) -> None:
    if (left := len(device.keys.one_time)) < _LOW_WATER:
        await net.notify(device, "encrypt", [elem("count", {"value": left})])


KEY_QUERIES: Table = {("encrypt", SET): upload, ("encrypt", GET): fetch}
