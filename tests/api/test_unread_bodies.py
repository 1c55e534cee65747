"""A body that the answer did not wait for: the connection stays good, or the answer says that it is over."""

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from patience import PATIENCE_S
from running import Account, Running

SHORT_S = 0.1
"""Much less than a rest of a body is waited for."""
LITTLE = b'{"deviceId": "nobody"}'
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class Connection:
    """One connection, kept; answers have a Content-Length."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = connected.makefile("rb")

    def send(self, content: bytes) -> None:
        self._socket.sendall(content)

    def answer(self) -> tuple[int, dict[str, str]]:
        """Status and headers, by lower-case names, of the next answer."""
        status = int(self._answers.readline().split()[1])
        headers = {}
        while line := self._answers.readline().strip():
            name, _, value = line.decode("latin-1").partition(": ")
            headers[name.lower()] = value
        self._answers.read(int(headers["content-length"]))
        return status, headers

    def has_answered_within(self, seconds: float) -> bool:
        return bool(select.select([self._socket], [], [], seconds)[0])

    def close(self) -> None:
        self._answers.close()

    def is_ended(self) -> bool:
        """Waits for more, which must be the end."""
        try:
            return self._answers.read(1) == b""
        except ConnectionResetError:
            return True


@contextmanager
def connected(port: int) -> Iterator[Connection]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        made = Connection(connection)
        try:
            yield made
        finally:
            made.close()


def head(length: int, *more: str) -> bytes:
    """Of a request that is refused for want of a key, before its body is looked at."""
    lines = ["POST /messages/send-text HTTP/1.1", "Host: x", f"Content-Length: {length}", *more, "", ""]
    return "\r\n".join(lines).encode()


def test_a_little_body_is_waited_for_and_the_connection_stays_good(shared: Running) -> None:
    with connected(shared.port) as connection:
        for _ in range(3):
            connection.send(head(len(LITTLE)))
            assert not connection.has_answered_within(SHORT_S)
            connection.send(LITTLE)
            status, headers = connection.answer()
            assert status == 401
            assert "connection" not in headers
        connection.send(HEALTH)
        assert connection.answer()[0] == 200


@pytest.mark.parametrize("sent", [b"", b"x" * 100_000], ids=["that does not come", "that is large"])
def test_a_body_that_is_not_read_ends_the_connection_and_the_answer_says_so(
    shared: Running, sent: bytes
) -> None:
    with connected(shared.port) as connection:
        connection.send(head(1_000_000))
        connection.send(sent)
        status, headers = connection.answer()
        assert (status, headers["connection"]) == (401, "close")
        assert connection.is_ended()


def test_who_waits_to_be_asked_for_a_body_is_not_asked_for_nothing(shared: Running) -> None:
    with connected(shared.port) as connection:
        connection.send(head(1000, "Expect: 100-continue"))
        status, headers = connection.answer()
        assert (status, headers["connection"]) == (401, "close")


def test_answers_to_requests_without_a_body_or_with_one_that_was_read_say_nothing(
    shared: Running, account: Account
) -> None:
    assert "connection" not in httpx.get(f"{shared.url}/devices").headers
    assert "connection" not in account.http.post("/devices", json={"name": 5}).headers
    assert "connection" not in account.http.post("/devices", json={"name": "one"}).headers
