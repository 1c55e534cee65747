"""Queries about the session itself: media hosts, app state, linked devices, link codes, and small talk."""

from __future__ import annotations

import json
import secrets
import time

from loopback import pairing
from loopback.conn import Connection
from loopback.model import Account, Device
from loopback.network import Network
from loopback.nodes import JID, SERVER, Node, elem
from loopback.phone import Phone
from loopback.queries import GET, SET, Query, Reply, Table, both

_SMALL_TALK = (
    "w:p",
    "urn:xmpp:ping",
    "w:stats",
    "urn:xmpp:whatsapp:dirty",
    "urn:xmpp:whatsapp:push",
    "fb:thrift_iq",
    "disappearing_mode",
)


async def nothing(_query: Query) -> Reply:
    return None


async def media_hosts(query: Query) -> Reply:
    head = {"auth": secrets.token_urlsafe(24), "ttl": 300, "auth_ttl": 21600, "max_buckets": 12}
    return [elem("media_conn", head, [elem("host", {"hostname": query.net.media_host})])]


async def app_state(query: Query) -> Reply:
    """Each collection: take the client's patch if it has one, else hand out the patches it lacks."""
    device, net = query.device, query.net
    phone = net.phones[device.account.number]
    return [elem("sync", None, [_collection(net, phone, device, c) for c in query.node.require("sync")])]


def _collection(net: Network, phone: Phone, device: Device, asked: Node) -> Node:
    name, since = asked.attrs["name"], int(asked.attrs.get("version", "0"))
    state, patch = phone.app_state.collections[name], asked.child("patch")
    if patch is not None and since == state.version and phone.app_state.accept(name, patch.data):
        net.spawn(phone.tell_sync(name, device))
        return elem("collection", {"name": name, "version": state.version})
    head = {"name": name, "version": state.version}
    patches = [elem("patch", None, p) for p in state.patches[since:]]
    body = [elem("patches", None, patches)] if patches else []
    if patch is not None:
        head["type"] = "error"
        body.insert(0, elem("error", {"code": 409, "text": "conflict"}))
    return elem("collection", head, body or None)


async def properties(_query: Query) -> Reply:
    return [elem("props", {"protocol": "1", "hash": "0"}, [])]


async def terms(_query: Query) -> Reply:
    return [elem("tos", None, [])]


async def mex(_query: Query) -> Reply:
    return [elem("result", None, json.dumps({"data": None}).encode())]


async def multidevice(query: Query) -> Reply:
    if (removed := query.node.child("remove-companion-device")) is not None:
        device = query.net.directory.device(JID(removed.attrs["jid"]))
        if device is not None:
            query.net.spawn(remove_device(query.net, device, tell=device.wire is not query.conn))
        return None
    reg = query.node.child("link_code_companion_reg")
    if reg is None:
        return None
    if reg.attrs["stage"] == "companion_hello":
        ref = secrets.token_urlsafe(12)
        wrapped = reg.require("link_code_pairing_wrapped_companion_ephemeral_pub").data
        query.conn.companion_hello = (JID(reg.attrs["jid"]).user, ref, wrapped)
        return [elem("link_code_companion_reg", None, [elem("link_code_pairing_ref", None, ref.encode())])]
    if reg.attrs["stage"] == "companion_finish" and query.conn.link:
        account, link = query.conn.link
        adv_secret = link.finish(reg.require("link_code_pairing_wrapped_key_bundle").data)
        query.net.spawn(query.conn.pair(account, adv_secret))
    return None


async def send_link_code(conn: Connection, account: Account, code: str) -> None:
    """The phone's half of link-code pairing: its wrapped ephemeral key goes to the companion."""
    assert conn.companion_hello is not None
    _number, ref, wrapped = conn.companion_hello
    link = pairing.LinkCode(account.identity, code, wrapped)
    conn.link = (account, link)
    body = {
        "link_code_pairing_wrapped_primary_ephemeral_pub": link.wrapped_primary,
        "primary_identity_pub": account.identity.public,
        "link_code_pairing_ref": ref.encode(),
    }
    parts = [elem(tag, None, value) for tag, value in body.items()]
    reg = elem("link_code_companion_reg", {"stage": "primary_hello"}, parts)
    head = {
        "type": "link_code_companion_reg",
        "from": SERVER,
        "id": conn.net.next_id(),
        "t": int(time.time()),
    }
    await conn.send(elem("notification", head, [reg]))


async def remove_device(net: Network, device: Device, *, tell: bool = True) -> None:
    """Take a companion off its account's list; with `tell` its connection ends as logged out."""
    device.account.devices.pop(device.id, None)
    if isinstance(device.wire, Connection) and tell:
        await device.wire.close("401", "device_removed")
    await net.announce_devices(device.account)


SESSION_QUERIES: Table = {
    **{key: nothing for xmlns in _SMALL_TALK for key in ((xmlns, GET), (xmlns, SET))},
    ("passive", SET): nothing,
    ("w:m", SET): media_hosts,
    ("w:sync:app:state", SET): app_state,
    ("w", GET): properties,
    ("md", SET): multidevice,
    **both("abt", properties),
    **both("tos", terms),
    **both("w:mex", mex),
}
