"""X3: a real gateway is asked to go where it must not, in every form we know and by every way in;
sockets that listen there must stay silent. Names are resolved by prepared answers."""

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from arranged_main import NAMES, PROGRAM
from patience import PATIENCE_S
from running import Account, Running, until

ALLOWED = "127.0.0.2"
SILENT = ("127.0.0.1", "127.0.0.3", "::1")

LITERALS = (
    *("127.0.0.1", "127.0.0.3", "127.255.255.254", "127.1", "127.0.1", "2130706433", "017700000001"),
    *("0177.0.0.1", "0177.0.0.01", "0x7f.1", "0x7f000001", "0X7F.0.0.1", "0x7f.0x0.0x0.0x1", "127.0.0.0x1"),
    *("127.0.0.1.", "127.0.0.01", "0", "0.0.0.0", "0.1.2.3", "00000000000", "localhost", "localhost."),
    *(
        "LOCALHOST",
        "x.localhost",
        "ｌocalhost",
        "①②⑦.⓪.⓪.①",
        "１２７.0.0.1",
        "127。0。0。1",
        "127%2e0.0.1",
        "%6cocalhost",
    ),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]"),
    *(
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::1]",
        "[2001:0:7f00:1::]",
        "[::ffff:0:127.0.0.1]",
    ),
    *("[2606:4700::5efe:127.0.0.1]", "[::1%25lo]", "[fe80::1%25lo]", "[fe80::1]", "[fec0::1]", "[fd00::1]"),
    *("[ff02::1]", "[2001:db8::1]", "[100::1]", "[fd00:ec2::254]", "user@127.0.0.1", "user:secret@127.0.0.1"),
    *(
        "example.org@127.0.0.1",
        "example.org\\\\@127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
    ),
    *("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192", "198.18.0.1"),
    *("192.0.2.1", "192.88.99.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
)
ADDRESSES = (
    *("127.0.0.1", "127.0.0.3", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::1", "2001:0:7f00:1::", "2606:4700::5efe:7f00:1"),
    *(
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "fd00:ec2::254",
        "168.63.129.16",
    ),
    *(
        "198.18.0.1",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "240.0.0.1",
        "fe80::1",
        "fd00::1",
        "2001:db8::1",
    ),
)
"""What names resolve to once they were accepted."""


class Listeners:
    """Sockets on one port of several loopback addresses: the kernel takes connections, nobody need answer."""

    def __init__(self) -> None:
        self.allowed = socket.create_server((ALLOWED, 0))
        self.port = int(self.allowed.getsockname()[1])
        self.silent = {host: self._listen(host) for host in SILENT}
        self.allowed.settimeout(PATIENCE_S)

    def _listen(self, host: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, self.port), family=family)
        listener.setblocking(False)
        return listener

    def answer_one(self) -> bytes:
        """Take one request at the allowed address and say 200; its beginning."""
        connection, _ = self.allowed.accept()
        with connection:
            beginning = connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return beginning

    def touched(self) -> list[str]:
        """The silent addresses that somebody connected to."""
        return [host for host, listener in self.silent.items() if _was_connected(listener)]

    def close(self) -> None:
        for listener in (self.allowed, *self.silent.values()):
            listener.close()


def _was_connected(listener: socket.socket) -> bool:
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return False
    connection.close()
    return True


def names() -> dict[str, list[list[str]]]:
    """`fixed…` always leads to a denied address; `turn…` does so once it was accepted."""
    found = {"mixed.test": [["127.0.0.1", "::1", ALLOWED, "127.0.0.3"]], "own.test": [[ALLOWED]]}
    for n, address in enumerate(ADDRESSES):
        found[f"fixed{n}.test"] = [[address]]
        for path in ("test", "deliver", "update"):
            found[f"turn-{path}{n}.test"] = [[ALLOWED], [address]]
    return found


@pytest.fixture(scope="module")
def listeners() -> Iterator[Listeners]:
    ready = Listeners()
    yield ready
    ready.close()


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """The first of two accounts, so that private networks are not its own, on a gateway that may deliver to
    one loopback address."""
    folder = tmp_path_factory.mktemp("ssrf")
    (folder / "names.json").write_text(json.dumps(names()))
    gateway = Running(
        folder / "data",
        {"webhooks.allow": [ALLOWED], "limits.messages_per_minute": 0},
        {NAMES: str(folder / "names.json")},
        PROGRAM,
    ).start()
    first, _ = gateway.account(), gateway.account()
    yield first
    gateway.close()
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def device(account: Account) -> str:
    return account.device()


def hosts() -> list[str]:
    return [*LITERALS, *(f"fixed{n}.test" for n in range(len(ADDRESSES)))]


def refusals(ask: Callable[[str], Any]) -> list[str]:
    """The hosts that were not refused as they must be."""
    wrong = []
    for host in hosts():
        answer = ask(host)
        if answer.status_code != 422 or answer.json()["code"] not in {
            "webhook_url_forbidden",
            "media_url_forbidden",
            "validation_failed",
        }:
            wrong.append(f"{host}: {answer.status_code} {answer.text[:200]}")
    return wrong


def test_there_are_enough_forms() -> None:
    assert len(set(LITERALS)) >= 60


def test_a_webhook_is_not_made(account: Account, listeners: Listeners) -> None:
    def ask(host: str) -> Any:
        return account.http.post("/webhooks", json={"url": f"http://{host}:{listeners.port}/"})

    assert refusals(ask) == []
    assert listeners.touched() == []


def test_a_webhook_is_not_moved_there(account: Account, listeners: Listeners) -> None:
    url = f"http://turn-update0.test:{listeners.port}/"
    path = f"/webhooks/{account.ok('POST', '/webhooks', {'url': url, 'enabled': False})['id']}"

    def ask(host: str) -> Any:
        return account.http.patch(path, json={"url": f"http://{host}:{listeners.port}/"})

    assert refusals(ask) == []
    assert account.ok("GET", path)["url"] == url
    assert listeners.touched() == []
    account.http.delete(path)


def test_a_file_is_not_fetched(account: Account, listeners: Listeners, device: str) -> None:
    def ask(host: str) -> Any:
        url = f"http://{host}:{listeners.port}/file.png"
        body = {"deviceId": device, "to": "628111222333", "kind": "image", "url": url}
        return account.http.post("/messages/send-media", json=body)

    assert refusals(ask) == []
    mixed = ask("own.test")
    assert mixed.json()["code"] == "media_url_forbidden"
    assert listeners.touched() == []


@pytest.mark.parametrize("path", ["test", "deliver"])
def test_a_name_that_turns_after_it_was_accepted_is_not_connected_to(
    account: Account, listeners: Listeners, device: str, path: str
) -> None:
    ids = [
        account.ok("POST", "/webhooks", {"url": f"http://turn-{path}{n}.test:{listeners.port}/"})["id"]
        for n in range(len(ADDRESSES))
    ]
    if path == "deliver":
        account.ok("POST", f"/devices/{device}/sandbox/receive", {"text": "Halo!"})
    else:
        for webhook_id in ids:
            account.ok("POST", f"/webhooks/{webhook_id}/test")

    def stopped() -> bool:
        known = {webhook["id"]: webhook["status"] for webhook in account.every("/webhooks")}
        return all(known[webhook_id] == "stopped" for webhook_id in ids)

    until("stopped webhooks", stopped)
    for webhook_id in ids:
        [delivery] = account.ok("GET", f"/webhooks/{webhook_id}/deliveries")["items"]
        assert delivery["lastError"] == "address_forbidden"
        account.http.delete(f"/webhooks/{webhook_id}")
    assert listeners.touched() == []


def test_of_mixed_answers_only_the_allowed_address_is_connected_to(
    account: Account, listeners: Listeners
) -> None:
    url = f"http://mixed.test:{listeners.port}/hook"
    webhook = account.ok("POST", "/webhooks", {"url": url})
    account.ok("POST", f"/webhooks/{webhook['id']}/test")
    beginning = listeners.answer_one()
    assert beginning.startswith(b"POST /hook HTTP/1.1\r\n")
    assert f"Host: mixed.test:{listeners.port}".encode() in beginning
    assert listeners.touched() == []
    account.http.delete(f"/webhooks/{webhook['id']}")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", ALLOWED, "localhost", "own.test", "[::1]", "[::ffff:127.0.0.2]"]
)
def test_the_gateway_does_not_call_itself_by_any_name(account: Account, host: str) -> None:
    port = account.url.rpartition(":")[2]
    body = {"url": f"http://{host}:{port}/healthz"}
    problem = account.refused(422, "webhook_url_forbidden", "POST", "/webhooks", body)
    if host != "[::1]":
        assert "own_address" in problem["detail"]
