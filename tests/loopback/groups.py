"""What happens to groups, whoever does it: a companion by a query, or a phone by its own hand."""

from __future__ import annotations

import secrets
import time

from loopback.model import Account, Device, Group
from loopback.network import Network
from loopback.nodes import LID, Node, elem

FLAGS = {"locked": ("locked", True), "unlocked": ("locked", False)}
FLAGS |= {"announcement": ("announcement", True), "not_announcement": ("announcement", False)}


def describe_group(net: Network, group: Group) -> Node:
    """The `<group>` element: `id` is a plain string without `@g.us`."""
    people = [
        elem(
            "participant", {"jid": a.lid, "phone_number": a.shown_pn, "type": group.members[a.number] or None}
        )
        for a in net.directory.members(group)
    ]
    creator = group.creator
    head = {
        "id": group.id,
        "subject": group.subject,
        "s_t": group.created_at_s,
        "creation": group.created_at_s,
        "size": len(people),
        "s_o": creator.lid,
        "creator": creator.lid,
        "creator_pn": creator.pn,
        "addressing_mode": LID,
        "a_v_id": "1",
        "p_v_id": "1",
    }
    extra = [elem(flag) for flag in sorted(group.flags)]
    if group.about:
        body = [elem("body", None, group.about.encode())]
        extra.append(elem("description", {"id": group.about_id, "t": group.created_at_s}, body))
    return elem("group", head, [*people, *extra, elem("member_add_mode", None, b"all_member_add")])


async def tell(net: Network, group: Group, actor: Device, change: Node, *also: str) -> None:
    """Notify every companion of the members (and of the accounts in `also`) but the actor itself."""
    head = {
        "from": group.jid,
        "participant": actor.lid.bare,
        "participant_pn": actor.account.shown_pn,
        "addressing_mode": LID,
        "notify": actor.account.name,
    }
    for number in {*group.members, *also}:
        for device in net.directory.accounts[number].companions:
            if device is not actor:
                await net.notify(device, "w:gp2", [change], **head)


def listed(accounts: list[Account]) -> list[Node]:
    return [elem("participant", {"jid": a.lid, "phone_number": a.shown_pn}) for a in accounts]


async def create(net: Network, actor: Device, subject: str, others: list[Account]) -> Group:
    me = actor.account
    members = {me.number: "superadmin", **{a.number: "" for a in others if a is not me}}
    group = Group(f"1203630{secrets.randbelow(10**11):011d}", subject, me, members)
    group.invite = secrets.token_urlsafe(16)
    net.directory.groups[group.id] = group
    change = elem("create", {"type": "new", "reason": "invite"}, [describe_group(net, group)])
    await tell(net, group, actor, change)
    return group


async def change_members(
    net: Network, group: Group, actor: Device, action: str, accounts: list[Account]
) -> list[Node]:
    """`action` is add, remove, promote or demote. Returns the `<participant>` elements it touched."""
    for account in accounts:
        if action == "remove":
            group.members.pop(account.number, None)
        else:
            group.members[account.number] = "admin" if action == "promote" else ""
    done = listed(accounts)
    await tell(net, group, actor, elem(action, None, done), *(a.number for a in accounts))
    return done


async def leave(net: Network, group: Group, actor: Device) -> None:
    if group.members.pop(actor.account.number, None) is not None:
        await tell(net, group, actor, elem("remove", None, [elem("participant", {"jid": actor.lid.bare})]))


async def join(net: Network, group: Group, actor: Device) -> None:
    group.members.setdefault(actor.account.number, "")
    await tell(net, group, actor, elem("add", {"reason": "invite"}, listed([actor.account])))


async def set_subject(net: Network, group: Group, actor: Device, subject: str) -> None:
    group.subject = subject
    head = {"subject": subject, "s_t": int(time.time()), "s_o": actor.lid.bare}
    await tell(net, group, actor, elem("subject", head))


async def set_flag(net: Network, group: Group, actor: Device, tag: str) -> None:
    """`tag` is one of FLAGS; the notification needs a `v_id`, or clients drop it."""
    flag, on = FLAGS[tag]
    if on:
        group.flags.add(flag)
    else:
        group.flags.discard(flag)
    await tell(net, group, actor, elem(tag, {"v_id": "1"}))


async def set_description(net: Network, group: Group, actor: Device, change: Node) -> None:
    body = change.child("body")
    group.about, group.about_id = (body.data.decode() if body else ""), change.attrs.get("id", "")
    await tell(net, group, actor, elem(change.tag, {"v_id": "1", **change.attrs}, change.content))
