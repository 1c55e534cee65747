"""The independent client Baileys exchanges texts with a client on the Go library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from loopback.client import Client
from loopback.independent import NODE_REASON, BaileysClient, has_node
from loopback.nodes import SERVER, elem
from loopback.server import LoopbackServer

pytest_plugins = ["loopback.fixtures"]

A, B, PHONE = "15550000001", "15550000002", "15550000003"
pytestmark = pytest.mark.skipif(not has_node(), reason=NODE_REASON)


def test_texts_between_baileys_and_the_go_library(
    net: LoopbackServer, paired: Callable[[str], Client], tmp_path: Path
) -> None:
    a = paired(A)
    with BaileysClient(B, tmp_path / "baileys", net.client_env()) as b:
        sent = a.send_text(B, "from Go to Baileys")
        assert b.wait("message", text="from Go to Baileys")["id"] == sent
        a.wait_receipt(sent, "READ")
        back = b.send_text(A, "from Baileys to Go")
        assert back == a.wait_text("from Baileys to Go").Info.ID
        group = a.create_group("mixed", B)
        a.send_text(group, "to the group")
        assert b.wait("message", text="to the group")["from"] == group
        net.add_account(PHONE)
        net.on_phone(PHONE, lambda p: p.send_text(B, "from a phone"))
        b.wait("message", text="from a phone")
        net.drop(B)
        b.wait("open")
        b.send_text(A, "after a cut")
        a.wait_text("after a cut")


def test_baileys_reconnects_with_routing_info(net: LoopbackServer, tmp_path: Path) -> None:
    with BaileysClient(PHONE, tmp_path / "baileys", net.client_env()) as client:
        routing = elem("edge_routing", None, [elem("routing_info", None, b"\x08\x02\x08\x05")])
        net.send_raw(PHONE, elem("ib", {"from": SERVER}, [routing]))
        net.on_phone(PHONE, lambda p: p.tell_sync("regular"))
        net.drop(PHONE)
        client.wait("open")
        assert net.connected(PHONE) == 1
