"""Every fault a test may ask for, seen from a client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from loopback.client import Client, ClientError
from loopback.phone import Phone
from loopback.server import LoopbackServer
from patience import PATIENCE_S

pytest_plugins = ["loopback.fixtures"]

A, B = "15550000001", "15550000002"
Paired = Callable[[str], Client]
SHORT_S = 2.0


@pytest.fixture(scope="module")
def session(net: LoopbackServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored session of A; each test starts its own process on it."""
    net.add_account(B)
    database = tmp_path_factory.mktemp("client") / "a.db"
    with Client(database, net.client_env(), lambda code: net.scan(A, code)) as client:
        client.wait("Connected")
        client.send_text(B, "warm up")
    return database


@pytest.fixture
def a(net: LoopbackServer, session: Path) -> Iterator[Client]:
    with Client(session, net.client_env()) as client:
        client.wait("Connected")
        yield client
    net.faults.clear()


def until(condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def test_cut_connection_comes_back(net: LoopbackServer, a: Client) -> None:
    net.drop(A)
    mark = a.mark()
    a.wait("Disconnected")
    a.wait("Connected", since=mark)


def test_messages_wait_for_an_offline_client(net: LoopbackServer, session: Path) -> None:
    until(lambda: not net.connected(A), "offline")
    sent = [net.on_phone(B, partial(Phone.send_text, to=A, body=f"while away {i}")) for i in range(3)]
    assert net.backlog(A) >= len(sent)
    with Client(session, net.client_env()) as client:
        assert [client.wait_text(f"while away {i}").Info.ID for i in range(3)] == sent
        assert client.wait("OfflineSyncPreview").Message == len(sent)
        client.wait("OfflineSyncCompleted")
        until(lambda: net.backlog(A) == 0, "backlog acknowledged")


def test_refused_by_the_proxy(net: LoopbackServer, session: Path) -> None:
    net.faults.refuse_proxy = True
    with Client(session, net.client_env()) as client:
        assert "Connected" not in {e.name for e in client.events}
        assert client.wait("returned") != ""
    net.faults.clear()
    assert net.counters.refused


def test_refused_by_the_kernel_and_back(net: LoopbackServer, session: Path) -> None:
    net.refuse_connections()
    with Client(session, net.client_env()) as client:
        assert "refused" in client.wait("returned")
    net.accept_connections()
    with Client(session, net.client_env()) as client:
        client.wait("Connected")


@pytest.mark.parametrize("fault", ["hang_proxy", "hang_upgrade", "silent_login"])
def test_hung_network(net: LoopbackServer, session: Path, fault: str) -> None:
    net.set_fault(fault, True)
    with Client(session, net.client_env()) as client, pytest.raises(TimeoutError):
        client.wait("Connected", timeout_s=SHORT_S)
    net.faults.clear()
    with Client(session, net.client_env()) as client:
        client.wait("Connected")


def test_mute_server_hangs_a_send(net: LoopbackServer, a: Client) -> None:
    net.faults.mute = True
    with pytest.raises(TimeoutError):
        a.send_text(B, "into the void", timeout_s=SHORT_S)
    assert "into the void" not in [m.text for m in net.phones[B].inbox]


def test_ack_error_refuses_the_message(net: LoopbackServer, a: Client) -> None:
    net.faults.ack_error = 463
    before = len(net.ledger.entries)
    with pytest.raises(ClientError, match="463"):
        a.send_text(B, "refused")
    assert len(net.ledger.entries) == before


def test_ack_delay_slows_a_send(net: LoopbackServer, a: Client) -> None:
    net.faults.ack_delay_s = 1.0
    started = time.monotonic()
    a.send_text(B, "slow")
    assert time.monotonic() - started >= 1.0


def test_withheld_ack_hangs_a_send_that_arrived(net: LoopbackServer, a: Client) -> None:
    net.faults.withhold_acks = True
    with pytest.raises(TimeoutError):
        a.send_text(B, "arrived unacknowledged", timeout_s=SHORT_S)
    assert net.on_phone(B, lambda p: p.wait_for("arrived unacknowledged"))
    assert not net.ledger.entries[-1].acknowledged


@pytest.mark.parametrize("fault", ["drop_on_message", "drop_after_relay"])
def test_cut_during_a_send(net: LoopbackServer, a: Client, fault: str) -> None:
    net.set_fault(fault, 1)
    sent = a.send_text(B, fault)
    assert net.on_phone(B, lambda p: p.wait_for(fault)).id == sent
    times = net.ledger.ids().count(sent)
    assert times == (2 if fault == "drop_after_relay" else 1)
    assert net.phones[B].repeated.count(sent) == times - 1


def test_stream_errors(net: LoopbackServer, a: Client) -> None:
    mark = a.mark()
    net.stream_error(A, "503")
    a.wait("Connected", since=mark)
    net.stream_error(A, None, "replaced")
    a.wait("StreamReplaced", since=mark)


def test_ban_is_told_now_and_at_login(net: LoopbackServer, session: Path) -> None:
    with Client(session, net.client_env()) as client:
        client.wait("Connected")
        net.ban(A, code=104, expire_s=1800)
        assert client.wait("TemporaryBan").Expire == 1800
    with Client(session, net.client_env()) as again:
        assert again.wait("TemporaryBan").Expire == 1800
    net.faults.clear()


def test_outdated_client(net: LoopbackServer, session: Path) -> None:
    net.outdate(A)
    with Client(session, net.client_env()) as client:
        client.wait("ClientOutdated")
    net.faults.clear()


def test_media_host_fails(net: LoopbackServer, a: Client) -> None:
    sent = net.on_phone(B, lambda p: p.send_media(A, "image", b"picture"))
    event = a.wait("Message", lambda m: sent == m.Info.ID)
    net.faults.media_status = 410
    with pytest.raises(ClientError):
        a.download(event.Message)
    net.faults.media_status = 0
    assert a.download(event.Message) == b"picture"


def test_counters_and_tape(net: LoopbackServer, a: Client) -> None:
    a.send_text(B, "on tape")
    assert net.counters.logins > 0
    assert net.counters.proxied >= net.counters.websockets > 0
    assert net.counters.patched > 0
    assert ("in", "message") in {(way, node.tag) for way, _, node in net.tape}
    assert not net.counters.unknown_iqs
    assert not net.patch_errors
