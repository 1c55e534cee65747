"""The HTTP client for other people's URLs: it connects to allowed addresses only, and nowhere on its own."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from appliance.gateway.addresses import Policy, check, permitted
from appliance.gateway.target_url import Target, check_url, literal_address

CONNECT_TIMEOUT_S = 5.0
TOTAL_TIMEOUT_S = 15.0
KEEPALIVE_S = 4.0
"""Less than the 5 s after which Node's servers close an idle connection: a POST must not cross with that."""

_LOOKUPS_AT_ONCE = 256

Lookup = Callable[[str], Awaitable[list[str]]]
"""From a host name to its numeric addresses; raises OSError when there are none."""


class RedirectRefused(aiohttp.ClientError):
    """A request was answered with a redirect and its caller had not said `allow_redirects=False`."""


class SystemLookup:
    """Looks names up the way the operating system does, each name once at a time.

    The look-ups run on daemon threads: neither the loop's few executor threads nor the end of the process
    must wait for a name server that does not answer.
    """

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[list[str]]] = {}
        self._slots = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    async def __call__(self, host: str) -> list[str]:
        task = self._running.get(host)
        if task is None:
            task = asyncio.create_task(self._look_up(host))
            self._running[host] = task
            task.add_done_callback(lambda done: self._forget(host, done))
        return await asyncio.shield(task)

    async def _look_up(self, host: str) -> list[str]:
        async with self._slots:
            loop = asyncio.get_running_loop()
            found: asyncio.Future[list[str]] = loop.create_future()
            threading.Thread(target=_ask_system, args=(host, loop, found), name="dns", daemon=True).start()
            return await found

    def _forget(self, host: str, done: asyncio.Task[list[str]]) -> None:
        del self._running[host]
        if not done.cancelled():
            done.exception()


class GuardedResolver(AbstractResolver):
    """Resolves a name once and gives only addresses that the policy allows, in numbers: aiohttp connects to
    exactly those."""

    def __init__(self, policy: Policy, lookup: Lookup) -> None:
        self._policy = policy
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises AddressForbidden when no address of `host` is allowed, OSError when it has none."""
        found = permitted(await self._lookup(host), port, self._policy, host)
        results = [_result(host, address, port) for address in found]
        wanted = [result for result in results if family in (socket.AF_UNSPEC, result["family"])]
        if not wanted:
            raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        return wanted

    async def close(self) -> None:
        """Nothing is kept open."""


class GuardedConnector(aiohttp.TCPConnector):
    """Guards IP literals too, for which aiohttp asks no resolver."""

    def __init__(self, policy: Policy, lookup: Lookup) -> None:
        # No limit: the callers bound their own work, and waiting for a slot must not eat the connect timeout.
        super().__init__(
            resolver=GuardedResolver(policy, lookup),
            use_dns_cache=False,
            limit=0,
            keepalive_timeout=KEEPALIVE_S,
        )
        self._policy = policy

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> list[ResolveResult]:
        address = literal_address(host)
        if address is not None:
            check(address, port, self._policy, host)
        return await super()._resolve_host(host, port, traces)


def open_client(
    policy: Policy,
    own_address: tuple[str, int] | None,
    *,
    lookup: Lookup | None = None,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    total_timeout_s: float = TOTAL_TIMEOUT_S,
) -> aiohttp.ClientSession:
    """A session that connects only where `policy` allows and never to `own_address` (host, port) itself.

    It keeps no cookies, takes no proxy from the environment and unpacks nothing. Requests raise
    AddressForbidden before anything is connected. A redirect is never followed: callers say
    `allow_redirects=False` and get the 3xx answer, else RedirectRefused is raised. Close it as usual.
    """
    guarded = policy.with_own(*own_address) if own_address else policy
    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_refuse_redirect)
    return aiohttp.ClientSession(
        connector=GuardedConnector(guarded, lookup or SystemLookup()),
        timeout=aiohttp.ClientTimeout(
            total=total_timeout_s, connect=connect_timeout_s, sock_connect=connect_timeout_s
        ),
        headers={"User-Agent": "wa-gateway", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        trace_configs=[tracing],
    )


async def vet(url: str, policy: Policy, lookup: Lookup) -> Target:
    """Where `url` leads, its name looked up and its addresses checked; for judging a URL when it is given.

    It binds nobody: a connection resolves and checks again. Raises AddressForbidden, and OSError when the
    name has no address.
    """
    target = check_url(url, policy)
    if literal_address(target.host) is None:
        permitted(await lookup(target.host), target.port, policy, target.host)
    return target


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, redirect: aiohttp.TraceRequestRedirectParams
) -> None:
    redirect.response.close()
    raise RedirectRefused(f"redirects are not followed (status {redirect.response.status})")


def _result(host: str, address: str, port: int) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=0,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


def _ask_system(host: str, loop: asyncio.AbstractEventLoop, found: "asyncio.Future[list[str]]") -> None:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        addresses, failure = list(dict.fromkeys(str(answer[4][0]) for answer in answers)), None
    except (OSError, UnicodeError) as error:
        addresses, failure = [], _as_os_error(error)
    try:
        loop.call_soon_threadsafe(_settle, found, addresses, failure)
    except RuntimeError:
        # The loop was closed meanwhile; nobody waits any more.
        return


def _as_os_error(error: OSError | UnicodeError) -> OSError:
    # A label that is no label (too long, empty) comes as UnicodeError.
    return error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, str(error))


def _settle(found: "asyncio.Future[list[str]]", addresses: list[str], failure: OSError | None) -> None:
    if found.done():
        return
    if failure is not None:
        found.set_exception(failure)
    else:
        found.set_result(addresses)
