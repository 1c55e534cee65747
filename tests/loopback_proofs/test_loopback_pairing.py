"""Pairing by QR and by link code, resuming, and the end of a link."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from loopback.client import Client
from loopback.server import LoopbackServer

pytest_plugins = ["loopback.fixtures"]

A, B = "15550000001", "15550000002"
Paired = Callable[[str], Client]


def test_pairs_by_qr_and_resumes_without_one(net: LoopbackServer, tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    with Client(database, net.client_env(), lambda code: net.scan(A, code)) as first:
        first.wait("Connected")
        assert net.accounts[A].companions
    net.add_account(B)
    with Client(database, net.client_env()) as again:
        again.wait("Connected")
        assert not [e for e in again.events if e.name == "qr"]
        again.send_text(B, "resumed")
    assert [m.text for m in net.phones[B].inbox] == ["resumed"]


def test_pairs_by_link_code(net: LoopbackServer, tmp_path: Path) -> None:
    with Client(tmp_path / "a.db", net.client_env()) as client:
        client.wait("qr")
        net.enter_link_code(A, client.call("pair_phone", A))
        client.wait("Connected")


def test_phone_unlinks_and_client_logs_out(net: LoopbackServer, paired: Paired) -> None:
    client = paired(A)
    net.unlink(A)
    client.wait("LoggedOut")
    other = paired(B)
    other.call("log_out")
    assert not net.accounts[B].companions


def test_unlinked_while_offline_is_told_at_login(net: LoopbackServer, tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    with Client(database, net.client_env(), lambda code: net.scan(A, code)) as client:
        client.wait("Connected")
    net.unlink(A)
    with Client(database, net.client_env()) as again:
        assert again.wait("LoggedOut").OnConnect


def test_push_name_comes_through_app_state(net: LoopbackServer, tmp_path: Path) -> None:
    number = "15550000031"
    net.add_account(number, "Ada")
    with Client(tmp_path / "a.db", net.client_env(), lambda code: net.scan(number, code)) as client:
        client.wait("Connected")
        assert client.wait_synced() == "Ada"
        client.call("set_push_name", "Ada L.")
    names = [v.pushNameSetting.name for i, v in net.phones[number].app_state.actions]
    assert names[-1] == "Ada L."
