"""Queries about groups (`w:g2`)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from loopback import groups
from loopback.model import Account, Group
from loopback.nodes import GROUP, JID, Node, elem
from loopback.queries import FORBIDDEN, NOT_FOUND, SET, Query, Refusal, Reply, Table, both

_MEMBER_CHANGES = ("add", "remove", "promote", "demote")
_NOT_ACCEPTABLE = (406, "not-acceptable")


async def answer(query: Query) -> Reply:
    to, action = JID(query.node.attrs["to"]), next(iter(query.node), elem(""))
    if to != GROUP:
        return await _one(query, _member_group(query, to), action)
    match action.tag:
        case "create":
            others = _accounts(query, action.children("participant"))
            group = await groups.create(query.net, query.device, action.attrs.get("subject", ""), others)
            return [groups.describe_group(query.net, group)]
        case "participating":
            known = query.net.directory.groups.values()
            mine = [groups.describe_group(query.net, g) for g in known if query.account.number in g.members]
            return [elem("groups", None, mine)]
        case "leave":
            for item in action:
                if (left := query.net.directory.groups.get(JID(item.attrs["id"]).user)) is not None:
                    await groups.leave(query.net, left, query.device)
            return [elem("leave", None, action.content)]
        case "invite":
            return await _invited(query, action.attrs["code"])
    return None


def _accounts(query: Query, participants: Iterable[Node]) -> list[Account]:
    found = (query.net.directory.account(JID(p.attrs["jid"])) for p in participants)
    return [a for a in found if a is not None]


def _member_group(query: Query, to: JID) -> Group:
    group = query.net.directory.group(to)
    if group is None:
        raise Refusal(*NOT_FOUND)
    if query.account.number not in group.members:
        raise Refusal(*FORBIDDEN)
    return group


async def _invited(query: Query, code: str) -> Reply:
    group = next((g for g in query.net.directory.groups.values() if g.invite == code), None)
    if group is None:
        raise Refusal(*_NOT_ACCEPTABLE)
    if query.kind != SET:
        return [groups.describe_group(query.net, group)]
    await groups.join(query.net, group, query.device)
    return [elem("group", {"jid": group.jid})]


async def _one(query: Query, group: Group, action: Node) -> Reply:
    """An action on one group the asker is in; all but reading needs an admin."""
    if action.tag == "query":
        return [groups.describe_group(query.net, group)]
    if action.tag == "invite":
        if query.kind == SET:
            group.invite = secrets.token_urlsafe(16)
        return [elem("invite", {"code": group.invite})]
    if not group.members[query.account.number]:
        raise Refusal(*FORBIDDEN)
    if action.tag in _MEMBER_CHANGES:
        people = _accounts(query, action)
        done = await groups.change_members(query.net, group, query.device, action.tag, people)
        return [elem(action.tag, None, done)]
    await _set(query, group, action)
    return None


async def _set(query: Query, group: Group, action: Node) -> None:
    net, device = query.net, query.device
    if action.tag == "subject":
        await groups.set_subject(net, group, device, action.data.decode())
    elif action.tag == "description":
        await groups.set_description(net, group, device, action)
    elif action.tag in groups.FLAGS:
        await groups.set_flag(net, group, device, action.tag)
    else:
        await groups.tell(net, group, device, action)


GROUP_QUERIES: Table = both("w:g2", answer)
