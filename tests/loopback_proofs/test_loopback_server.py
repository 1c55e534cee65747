"""The server as a thing: restart on one folder, alone by `python -m`, its control door, its codec."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from loopback import wabin
from loopback.bench import measure
from loopback.client import Client
from loopback.curve import KeyPair, verify
from loopback.nodes import GROUP, JID, LID, PN, elem
from loopback.patch import PATCH_REASON, can_patch
from loopback.server import LoopbackServer
from patience import PATIENCE_S

A, B = "15550000001", "15550000002"
TESTS = Path(__file__).resolve().parent.parent
needs_patch = pytest.mark.skipif(not can_patch(), reason=PATCH_REASON)


@needs_patch
def test_state_survives_a_restart(tmp_path: Path) -> None:
    state, database = tmp_path / "state", tmp_path / "a.db"
    with LoopbackServer(state) as net:
        address = net.proxy_url
        net.add_account(B, "Bea")
        with Client(database, net.client_env(), lambda code: net.scan(A, code)) as client:
            client.wait("Connected")
            group = client.create_group("lasting", B)
            client.send_text(group, "hello group")
            client.send_text(B, "before the restart")
            net.on_phone(B, lambda p: p.send_text(A, "an answer"))
            client.wait_text("an answer")
        picture = net.on_phone(B, lambda p: p.send_media(A, "image", b"picture"))
    with LoopbackServer(state) as net, Client(database, net.client_env()) as client:
        assert net.proxy_url == address
        event = client.wait("Message", lambda m: picture == m.Info.ID)
        assert client.download(event.Message) == b"picture"
        client.send_text(B, "after the restart")
        client.send_text(group, "hello again")
        net.on_phone(B, lambda p: p.send_text(A, "still here"))
        client.wait_text("still here")
        wanted = ["hello group", "before the restart", "after the restart", "hello again"]
        assert [m.text for m in net.phones[B].inbox] == wanted
        assert len(net.ledger.entries) == len(wanted)
        assert not net.phones[B].undecrypted


def control(env: dict[str, str], method: str, *arguments: object) -> Any:
    body = json.dumps(arguments).encode()
    request = urllib.request.Request(f"{env['LOOPBACK_CONTROL']}/{method}", body)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        request, timeout=PATIENCE_S
    ) as answer:
        return json.load(answer)["result"]


@needs_patch
def test_alone_as_a_process_with_its_control_door(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loopback", "--state", str(tmp_path / "state")]
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        lines = iter(server.stdout.readline, "}\n")
        told = json.loads("".join(lines) + "}")
        control(told, "add_account", B, "Bea")
        with Client(tmp_path / "a.db", told, lambda code: control(told, "scan", A, code)) as client:
            client.wait("Connected")
            client.send_text(B, "through another process")
            assert [m["text"] for m in control(told, "inbox", B)] == ["through another process"]
            control(told, "send_text", B, A, "and back")
            client.wait_text("and back")
            assert len(control(told, "ledger")) == 1
        server.terminate()
        assert server.wait(PATIENCE_S) == 0


@needs_patch
def test_bench_reports_the_bare_loop(tmp_path: Path) -> None:
    result = measure(tmp_path, count=50)
    assert result.texts == 50
    assert result.per_second > 0
    assert 0 < result.p50_ms <= result.p99_ms


STRANGER = """
import socket
from loopback.patch import PatchError, Patcher
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    connection, peer = server.accept()
    try:
        print(Patcher(bytes(32)).patch_peer(connection.getsockname()[1], peer[1]), flush=True)
    except PatchError as error:
        print(error, flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_process_that_may_not_be_patched_is_told_so() -> None:
    command = [sys.executable, "-c", STRANGER]
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, user=65534) as stranger:
        assert stranger.stdout is not None
        port = stranger.stdout.readline()
        if not port:
            pytest.skip("another user cannot read this checkout")
        with socket.create_connection(("127.0.0.1", int(port))):
            assert stranger.stdout.readline().strip() == PATCH_REASON


def test_nodes_survive_the_codec() -> None:
    children = [
        elem("enc", {"v": "2", "type": "pkmsg"}, os.urandom(70_000)),
        elem("to", {"jid": JID.of("100000000000001", LID, 3)}, [elem("empty")]),
        elem("text", {"hex": "ABCDEF012", "digits": "12345", "long": "ü" * 300, "odd": "123"}, b"text"),
    ]
    attrs = {"to": JID.of("15550000001", PN), "group": JID.of("1203630-1", GROUP), "id": "3EB0"}
    node = elem("message", attrs, children)
    back = wabin.decode(wabin.encode(node))
    assert back == node
    assert isinstance(back.attrs["to"], JID)
    assert wabin.decode(wabin.encode(elem("code", {}, "text as text"))).data == b"text as text"


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_truncated_nodes_are_refused(cut: int) -> None:
    frame = wabin.encode(elem("message", {"id": "3EB0", "type": "text"}, b"x" * 40))
    with pytest.raises((ValueError, IndexError)):
        wabin.decode(frame[:-cut])


def test_signatures_verify_and_tampering_shows() -> None:
    pair = KeyPair.generate()
    signature = pair.sign(b"message")
    assert verify(pair.public, b"message", signature)
    assert not verify(pair.public, b"massage", signature)
    assert not verify(KeyPair.generate().public, b"message", signature)
