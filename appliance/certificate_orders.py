"""An order of a certificate, placed by a short-lived process of its own: what it needs is in nobody's memory
afterwards, and its waiting is nobody's."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from appliance.engine.launcher import own_command

COMMAND = "certificate-order"
WITHIN_S = 300.0


class OrderFailed(Exception):
    """There is no certificate; the message says why, for whoever looks after the gateway."""


class Job(msgspec.Struct, frozen=True):
    """What to order, from whom. The account's key is kept in `folder`; challenges are answered at
    `host`:`port`; `ca` vouches for a private directory."""

    folder: str
    domains: list[str]
    directory: str
    email: str | None
    host: str
    port: int
    ca: str | None


class Outcome(msgspec.Struct, frozen=True):
    """The key and the certificate with its chain as PEM, or why there is none."""

    pem: str = ""
    error: str = ""


Order = Callable[[Job], Awaitable[bytes]]


async def order_by_child(job: Job) -> bytes:
    """Key and certificate with its chain, as PEM. Raises OrderFailed."""
    child = await asyncio.create_subprocess_exec(
        *own_command(), COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            told, _ = await child.communicate(msgspec.json.encode(job))
    except TimeoutError:
        raise OrderFailed(f"The order was not done within {int(WITHIN_S)} s.") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    try:
        outcome = msgspec.json.decode(told, type=Outcome)
    except msgspec.DecodeError:
        raise OrderFailed(f"The process that orders ended with code {child.returncode}.") from None
    if outcome.error:
        raise OrderFailed(outcome.error)
    return outcome.pem.encode()
