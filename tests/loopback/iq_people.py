"""Queries about people: who is on WhatsApp, their devices, pictures, privacy, blocks."""

from __future__ import annotations

import time

from loopback.model import Account, Group
from loopback.nodes import GROUP, JID, LID, PN, Node, elem
from loopback.queries import GET, NOT_FOUND, SET, Query, Refusal, Reply, Table, both

_PRIVACY = ("readreceipts", "last", "status", "profile", "groupadd", "online", "calladd")


async def usync(query: Query) -> Reply:
    """One `<user>` per asked account, with one child per asked protocol."""
    outer = query.node.require("usync")
    asked, listed = outer.require("query"), outer.require("list")
    users = [_user(query, asked, user) for user in listed]
    result = elem("result", None, [elem(part.tag) for part in asked])
    return [elem("usync", outer.attrs, [result, elem("list", None, users)])]


def _user(query: Query, asked: Node, user: Node) -> Node:
    contact, jid = user.child("contact"), JID(user.attrs.get("jid", ""))
    number = contact.data.decode().lstrip("+").partition("@")[0] if contact and contact.content else ""
    directory = query.net.directory
    account = directory.accounts.get(number) if number else directory.account(jid)
    if account is None:
        # An unregistered number: `contact` says so, and there is no LID to send to.
        body = [elem("contact", {"type": "out"}, contact.data)] if contact else [_no_devices()]
        return elem("user", {"jid": jid or JID.of(number, PN)}, body)
    head: dict[str, object] = {"jid": jid or account.pn}
    if number and any(p.tag == "contact" and p.attrs.get("addressing_mode") == LID for p in asked):
        head = {"jid": account.lid, "pn_jid": account.pn}
    parts = (_user_part(account, part.tag, contact) for part in asked)
    return elem("user", head, [p for p in parts if p is not None])


def _no_devices() -> Node:
    return elem("devices", None, [elem("error", {"code": NOT_FOUND[0]})])


def _user_part(account: Account, tag: str, contact: Node | None) -> Node | None:
    match tag:
        case "contact":
            return elem("contact", {"type": "in"}, contact.data if contact else None)
        case "lid":
            return elem("lid", {"val": account.lid})
        case "status":
            return elem("status", {"t": int(time.time())}, account.about.encode())
        case "devices":
            heads = [{"id": n, "key-index": n or None, "is_hosted": "false"} for n in account.devices]
            listed = elem("device-list", None, [elem("device", head) for head in heads])
            return elem("devices", None, [listed])
        case "disappearing_mode":
            return elem("disappearing_mode", {"duration": 0, "t": 0})
        case "picture" if account.picture:
            return elem("picture", {"id": "1"})
    return None


async def privacy(query: Query) -> Reply:
    settings, node = query.account.privacy, query.node
    if node.child("tokens") is not None:
        return None
    for category in node.child("privacy") or ():
        settings[category.attrs["name"]] = category.attrs["value"]
    body = [elem("category", {"name": n, "value": settings.get(n, "all")}) for n in _PRIVACY]
    return [elem("privacy", None, body)]


async def blocklist(query: Query) -> Reply:
    blocked = query.account.blocked
    if (item := query.node.child("item")) is not None:
        jid = item.attrs["jid"]
        if item.attrs["action"] == "block" and jid not in blocked:
            blocked.append(jid)
        elif item.attrs["action"] == "unblock" and jid in blocked:
            blocked.remove(jid)
    return [elem("list", {"dhash": str(len(blocked))}, [elem("item", {"jid": JID(j)}) for j in blocked])]


async def about(query: Query) -> Reply:
    text = query.node.child("status")
    if text is not None and query.kind == SET:
        query.account.about = text.data.decode()
    return None


async def picture(query: Query) -> Reply:
    net, target = query.net, JID(query.node.attrs.get("target", ""))
    owner: Account | Group | None
    if target.server == GROUP:
        owner = net.directory.group(target)
    else:
        owner = net.directory.account(target) if target else query.account
    if query.kind == SET and owner is not None:
        image = query.node.child("picture")
        owner.picture = image.data if image else None
        return [elem("picture", {"id": str(int(time.time()))})]
    if owner is None or owner.picture is None:
        raise Refusal(*NOT_FOUND)
    path = net.media.put_public(owner.picture)
    url = f"https://{net.media_host}{path}"
    return [elem("picture", {"id": "1", "type": "image", "url": url, "direct_path": path})]


async def contact_link(query: Query) -> Reply:
    if query.kind == SET:
        return [elem("qr", {"code": f"LOOP{query.account.number}", "type": "contact"})]
    code = query.node.require("qr").attrs.get("code", "").removeprefix("LOOP")
    account = query.net.directory.accounts.get(code)
    if account is None:
        raise Refusal(*NOT_FOUND)
    return [elem("qr", {"jid": account.pn, "notify": account.name, "type": "contact"})]


PEOPLE_QUERIES: Table = {
    ("usync", GET): usync,
    **both("privacy", privacy),
    **both("blocklist", blocklist),
    **both("status", about),
    **both("w:profile:picture", picture),
    **both("w:qr", contact_link),
}
