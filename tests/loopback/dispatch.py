"""The table of contents: which stanza and which query goes where."""

from __future__ import annotations

import logging

from loopback.conn import Connection
from loopback.iq_groups import GROUP_QUERIES
from loopback.iq_keys import KEY_QUERIES
from loopback.iq_people import PEOPLE_QUERIES
from loopback.iq_session import SESSION_QUERIES
from loopback.ledger import describe
from loopback.network import Network
from loopback.nodes import JID, SERVER, Node, elem
from loopback.presence import chatstate, presence
from loopback.queries import Query, Refusal, Reply, Table
from loopback.receipts import ack, receipt
from loopback.relay import message

log = logging.getLogger("loopback")

QUERIES: Table = {**KEY_QUERIES, **PEOPLE_QUERIES, **SESSION_QUERIES, **GROUP_QUERIES}
STANZAS = {"message": message, "receipt": receipt, "ack": ack, "presence": presence, "chatstate": chatstate}
_PING = "w:p"
_MALFORMED = (400, "bad-request")


async def handle(conn: Connection, node: Node) -> None:
    """Act on one stanza from a client. A stanza that breaks a handler is logged; the connection lives on."""
    if conn.device is None and conn.registration is None:
        return  # replaced by a newer connection, about to close
    try:
        if node.tag == "iq":
            await _query(conn, node)
        elif node.tag in STANZAS and conn.device is not None:
            await STANZAS[node.tag](conn.net, conn, node)
        elif node.tag == "call" and conn.device is not None:
            head = {"class": "call", "id": node.attrs.get("id"), "from": JID(node.attrs["to"])}
            await conn.send(elem("ack", head))
    except Exception:
        log.exception("stanza_failed", extra={"stanza": describe(node)})


async def _query(conn: Connection, node: Node) -> None:
    kind, xmlns = node.attrs.get("type", ""), node.attrs.get("xmlns", "")
    if kind in ("result", "error"):
        if conn.pairing is not None and node.child("pair-device-sign") is not None:
            await conn.finish_pairing(node)
        return
    if xmlns == _PING and conn.net.faults.ignore_pings:
        return
    head: dict[str, object] = {"id": node.attrs.get("id"), "from": JID(node.attrs.get("to") or SERVER)}
    try:
        body = await _answer(conn.net, Query(conn.net, conn, node), (xmlns, kind))
    except (Refusal, ValueError, KeyError) as error:
        refusal = error if isinstance(error, Refusal) else Refusal(*_MALFORMED)
        told = elem("error", {"code": refusal.code, "text": refusal.text})
        await conn.send(elem("iq", head | {"type": "error"}, [told]))
        return
    await conn.send(elem("iq", head | {"type": "result"}, body))
    if xmlns == "passive" and node.child("active") is not None and conn.device is not None:
        await conn.net.came_online(conn.device)


async def _answer(net: Network, query: Query, key: tuple[str, str]) -> Reply:
    if key[0] in net.faults.iq_errors:
        raise Refusal(net.faults.iq_errors[key[0]], "injected")
    if key not in QUERIES:
        net.counters.unknown_iqs.append(describe(query.node))
        return None
    return await QUERIES[key](query)
