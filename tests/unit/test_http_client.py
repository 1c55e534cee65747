"""The HTTP client against real receivers on loopback: what is denied is not even connected to."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from appliance.gateway.addresses import PUBLIC_ONLY, AddressForbidden, Policy, Reason
from appliance.gateway.http_client import (
    GuardedResolver,
    Lookup,
    RedirectRefused,
    SystemLookup,
    open_client,
    vet,
)

LOOPBACK = Policy.parse(["loopback"])
ONLY_SECOND = Policy.parse(["127.0.0.2"])


class Receiver:
    """An HTTP server on one loopback address that counts the connections it accepted."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.port = 0
        self.connections = 0
        self.requests: list[web.BaseRequest] = []
        self.answer: Callable[[], web.Response] = lambda: web.Response(text="ok")

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/hook"

    async def handle(self, request: web.BaseRequest) -> web.Response:
        await request.read()
        self.requests.append(request)
        return self.answer()


@asynccontextmanager
async def receiving(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver(host)
    protocols = web.Server(receiver.handle)

    def accept() -> asyncio.Protocol:
        receiver.connections += 1
        return protocols()

    listener = await asyncio.get_running_loop().create_server(accept, host, port)
    receiver.port = listener.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        listener.close()
        await protocols.shutdown(1)
        await listener.wait_closed()


class Answers:
    """A name server that gives one answer after the other, then the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def post(
    policy: Policy, url: str, lookup: Lookup | None = None, own: tuple[str, int] | None = None
) -> int:
    async with (
        open_client(policy, own, lookup=lookup) as client,
        client.post(url, data=b"{}", allow_redirects=False) as answer,
    ):
        return answer.status


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost.", "receiver.test"])
async def test_an_allowed_address_is_connected_to(host: str) -> None:
    async with receiving() as receiver:
        status = await post(LOOPBACK, f"http://{host}:{receiver.port}/", Answers(["127.0.0.1"]))
        assert status == 200
        assert receiver.connections == 1


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "0177.0.0.1",
        ),
        *("0", "0.0.0.0", "127.0.0.1.", "localhost", "localhost.", "LOCALHOST", "receiver.test", "①②⑦.⓪.⓪.①"),
        *("127。0。0。1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[::]"),
        *("[::127.0.0.1]", "[2002:7f00:1::1]", "[::ffff:0:127.0.0.1]", "①②⑦.1", "ｌocalhost", "1２7.0.0.1"),
    ],
)
async def test_a_denied_address_is_not_connected_to(host: str) -> None:
    async with receiving() as receiver:
        with pytest.raises((AddressForbidden, aiohttp.InvalidURL)):
            await post(PUBLIC_ONLY, f"http://{host}:{receiver.port}/", Answers(["127.0.0.1"]))
        assert receiver.connections == 0


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "169.254.169.254", "168.63.129.16", "[fe80::1]", "[fd00:ec2::254]"]
)
async def test_other_denied_literals_raise_before_connecting(address: str) -> None:
    with pytest.raises(AddressForbidden):
        await post(LOOPBACK, f"http://{address}/")


async def test_a_name_that_turns_to_loopback_after_it_was_vetted() -> None:
    async with receiving() as receiver:
        lookup = Answers(["8.8.8.8"], ["127.0.0.1"])
        url = f"http://receiver.test:{receiver.port}/"
        await vet(url, PUBLIC_ONLY, lookup)
        with pytest.raises(AddressForbidden) as caught:
            await post(PUBLIC_ONLY, url, lookup)
        assert caught.value.reason is Reason.LOOPBACK
        assert receiver.connections == 0
        assert lookup.asked == ["receiver.test"] * 2


async def test_a_name_that_turns_between_two_connections() -> None:
    async with receiving("127.0.0.2") as allowed, receiving("127.0.0.1", allowed.port) as denied:
        lookup = Answers(["127.0.0.2"], ["127.0.0.1"])
        url = f"http://receiver.test:{allowed.port}/"
        assert await post(ONLY_SECOND, url, lookup) == 200
        with pytest.raises(AddressForbidden):
            await post(ONLY_SECOND, url, lookup)
        assert (allowed.connections, denied.connections) == (1, 0)


async def test_a_connection_goes_to_the_address_that_was_checked() -> None:
    async with receiving("127.0.0.2") as allowed, receiving("127.0.0.1", allowed.port) as denied:
        lookup = Answers(["127.0.0.2"], ["127.0.0.1"])
        await post(ONLY_SECOND, f"http://receiver.test:{allowed.port}/", lookup)
        assert lookup.asked == ["receiver.test"]
        assert (allowed.connections, denied.connections) == (1, 0)
        assert allowed.requests[0].headers["Host"] == f"receiver.test:{allowed.port}"


async def test_denied_addresses_among_allowed_ones_are_left_out() -> None:
    async with receiving("127.0.0.2") as allowed, receiving("127.0.0.1", allowed.port) as denied:
        lookup = Answers(["127.0.0.1", "::1", "127.0.0.2"])
        await post(ONLY_SECOND, f"http://receiver.test:{allowed.port}/", lookup)
        assert (allowed.connections, denied.connections) == (1, 0)


@pytest.mark.parametrize("own_host", ["127.0.0.1", "0.0.0.0", "::", "localhost"])
async def test_the_gateway_does_not_call_itself(own_host: str) -> None:
    async with receiving() as gateway, receiving() as other:
        for host in ("127.0.0.1", "receiver.test", "[::ffff:127.0.0.1]"):
            url = f"http://{host}:{gateway.port}/"
            with pytest.raises(AddressForbidden) as caught:
                await post(LOOPBACK, url, Answers(["127.0.0.1"]), (own_host, gateway.port))
            assert caught.value.reason is Reason.OWN_ADDRESS
        assert gateway.connections == 0
        assert await post(LOOPBACK, other.url, own=(own_host, gateway.port)) == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    async with receiving() as first, receiving() as second, open_client(LOOPBACK, None) as client:
        first.answer = lambda: web.Response(status=status, headers={"Location": second.url})
        async with client.post(first.url, data=b"{}", allow_redirects=False) as answer:
            assert answer.status == status
        with pytest.raises(RedirectRefused):
            await client.post(first.url, data=b"{}")
        with pytest.raises(RedirectRefused):
            await client.get(first.url)
        assert len(first.requests) == 3
        assert second.connections == 0


async def test_the_environment_gives_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert await post(LOOPBACK, receiver.url) == 200
        assert (proxy.connections, receiver.connections) == (0, 1)


async def test_cookies_are_not_kept() -> None:
    async with (
        receiving("127.0.0.1") as receiver,
        open_client(LOOPBACK, None, lookup=Answers(["127.0.0.1"])) as client,
    ):
        receiver.answer = lambda: web.Response(headers={"Set-Cookie": "a=b"})
        for _ in range(2):
            async with client.post(f"http://receiver.test:{receiver.port}/", data=b"{}"):
                pass
        assert [request.headers.get("Cookie") for request in receiver.requests] == [None, None]


async def test_answers_are_not_unpacked() -> None:
    packed = gzip.compress(b"x" * 100_000)
    async with receiving() as receiver, open_client(LOOPBACK, None) as client:
        receiver.answer = lambda: web.Response(body=packed, headers={"Content-Encoding": "gzip"})
        async with client.post(receiver.url, data=b"{}") as answer:
            assert await answer.read() == packed
        assert receiver.requests[0].headers["Accept-Encoding"] == "identity"
        assert receiver.requests[0].headers["User-Agent"] == "wa-gateway"


async def test_the_timeouts() -> None:
    async with open_client(LOOPBACK, None) as client:
        assert client.timeout == aiohttp.ClientTimeout(total=15, connect=5, sock_connect=5)


async def test_a_receiver_that_never_answers_is_left() -> None:
    silent = asyncio.Event()

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with open_client(LOOPBACK, None, total_timeout_s=0.2) as client:
            with pytest.raises(TimeoutError):
                await client.post(f"http://127.0.0.1:{port}/", data=b"{}")
        silent.set()


async def test_a_name_server_that_never_answers_is_left() -> None:
    async def nobody(_host: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with open_client(LOOPBACK, None, lookup=nobody, connect_timeout_s=0.1) as client:
        with pytest.raises(TimeoutError):
            await client.post("http://receiver.test/", data=b"{}")


async def test_a_name_without_an_address_is_an_ordinary_client_error() -> None:
    async with open_client(LOOPBACK, None, lookup=Answers([])) as client:
        with pytest.raises(aiohttp.ClientConnectorDNSError):
            await client.post("http://receiver.test/", data=b"{}")


async def test_the_resolver_gives_numbers_of_the_wanted_family() -> None:
    resolver = GuardedResolver(LOOPBACK, Answers(["::1", "127.0.0.1", "10.0.0.1"]))
    assert [found["host"] for found in await resolver.resolve("x.test", 80)] == ["::1", "127.0.0.1"]
    (only,) = await resolver.resolve("x.test", 80, socket.AF_INET)
    assert (only["host"], only["port"], only["hostname"]) == ("127.0.0.1", 80, "x.test")
    await resolver.close()


async def test_the_system_knows_localhost_and_refuses_what_is_no_name() -> None:
    lookup = SystemLookup()
    first, second = await asyncio.gather(lookup("localhost"), lookup("localhost"))
    assert first == second
    assert "127.0.0.1" in first
    for name in ("x" * 64 + ".test", "a..test"):
        with pytest.raises(OSError):  # noqa: PT011
            await lookup(name)


@pytest.mark.parametrize(
    ("url", "answer", "reason"),
    [
        ("http://receiver.test/", ["127.0.0.1"], Reason.LOOPBACK),
        ("http://receiver.test/", ["169.254.169.254", "10.0.0.1"], Reason.METADATA),
        ("http://receiver.test:25/", ["8.8.8.8"], Reason.PORT),
        ("http://10.0.0.1/", ["8.8.8.8"], Reason.PRIVATE),
        ("ftp://receiver.test/", ["8.8.8.8"], Reason.SCHEME),
    ],
)
async def test_vetting_refuses(url: str, answer: list[str], reason: Reason) -> None:
    with pytest.raises(AddressForbidden) as caught:
        await vet(url, PUBLIC_ONLY, Answers(answer))
    assert caught.value.reason is reason


async def test_vetting_allows_and_says_where_it_leads() -> None:
    assert await vet("https://Receiver.test/x", PUBLIC_ONLY, Answers(["8.8.8.8"])) == (
        "https",
        "receiver.test",
        443,
    )
