"""X8: thousands of connections that are idle, stop in the middle of a head, trickle a body, or half-close;
`/healthz` keeps answering meanwhile, and nothing of them is left afterwards.

python tests/crash/slowloris.py [connections] [seconds]
"""

import asyncio
import contextlib
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.load import quantile
from processes import descriptors, memory_kib
from running import Account, running, until

SETTINGS = {"limits.messages_per_minute": 0, "logs.level": "warning"}
HEALTH_LIMIT_MS = 100
HEALTH_EVERY_S = 0.05
TRICKLE_EVERY_S = 1.0
OPENING_AT_ONCE = 100
GONE_WITHIN_S = 60.0
SPARE = 500
"""Descriptors of ours that are no attack: the gateway's own, and those of this process."""


@dataclass
class Figures:
    """What the attack did: times in ms, connections by their end, descriptors, and memory in KiB."""

    health_ms: list[float] = field(default_factory=list)
    unwell: list[str] = field(default_factory=list)
    opened: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    descriptors_before: int = 0
    descriptors_most: int = 0
    descriptors_after: int = 0
    kib_before: int = 0
    kib_most: int = 0
    kib_after: int = 0

    def lines(self) -> list[str]:
        most, after = self.kib_most - self.kib_before, self.kib_after - self.kib_before
        p50, p99 = quantile(self.health_ms, 0.5), quantile(self.health_ms, 0.99)
        return [
            f"{self.opened} connections; ended by us: {dict(sorted(self.ended.items()))}",
            f"/healthz  {len(self.health_ms)} answers  p50 {p50:.1f} ms  p99 {p99:.1f} ms  "
            f"most {max(self.health_ms):.1f} ms  (limit {HEALTH_LIMIT_MS} ms)  refused {len(self.unwell)}",
            f"descriptors  {self.descriptors_before} before, {self.descriptors_most} most, "
            f"{self.descriptors_after} after",
            f"memory  {self.kib_before / 1024:.1f} MiB RSS before, +{most / 1024:.1f} most "
            f"({most / max(1, self.opened):.1f} KiB each), +{after / 1024:.1f} after",
        ]


class Attack:
    """Connections that want nothing but to be held."""

    def __init__(self, port: int, account: Account, device: str, figures: Figures) -> None:
        self._port = port
        self._head = (
            f"POST /messages/send-text HTTP/1.1\r\nHost: x\r\nX-API-Key: {account.key}\r\n"
            "Content-Type: application/json\r\n"
        ).encode()
        self._read = f"GET /devices/{device} HTTP/1.1\r\nHost: x\r\nX-API-Key: {account.key}\r\n\r\n".encode()
        self._figures = figures
        self._kinds = (
            self._idle,
            self._half_head,
            self._slow_head,
            self._slow_body,
            self._half_closed,
            self._idle_after_answer,
        )

    async def run(self, connections: int, until_s: float) -> None:
        """Hold them until then; one that is ended by the other side is not opened again."""
        opening = asyncio.Semaphore(OPENING_AT_ONCE)
        await asyncio.gather(*(self._hold(n, opening, until_s) for n in range(connections)))

    async def _hold(self, n: int, opening: asyncio.Semaphore, until_s: float) -> None:
        kind = self._kinds[n % len(self._kinds)]
        async with opening:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                self._count("not taken")
                return
        self._figures.opened += 1
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(max(0.0, until_s - time.monotonic())):
                await kind(reader, writer)
                await _ended(reader)
                self._count(kind.__name__.strip("_"))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def _count(self, kind: str) -> None:
        self._figures.ended[kind] = self._figures.ended.get(kind, 0) + 1

    async def _idle(self, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        """Says nothing at all."""

    async def _half_head(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._head)

    async def _slow_head(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._head)
        await self._trickle(reader, writer, b"X-Slow: 1\r\n")

    async def _slow_body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._head + b"Content-Length: 10000\r\n\r\n{")
        await self._trickle(reader, writer, b" ")

    async def _half_closed(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._head + b"Content-Length: 10000\r\n\r\n{")
        writer.write_eof()

    async def _idle_after_answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._read)

    async def _trickle(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, piece: bytes
    ) -> None:
        while not reader.at_eof():
            writer.write(piece)
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(4096), TRICKLE_EVERY_S)


async def _ended(reader: asyncio.StreamReader) -> None:
    while await reader.read(4096):
        pass


async def watch(port: int, pid: int, figures: Figures) -> None:
    """Ask for the health on a new connection each time, as a load balancer does, until cancelled."""
    while True:
        began = time.monotonic()
        try:
            await asyncio.wait_for(_health(port), 10)
        except (OSError, TimeoutError, AssertionError) as error:
            figures.unwell.append(repr(error))
        figures.health_ms.append((time.monotonic() - began) * 1000)
        figures.descriptors_most = max(figures.descriptors_most, descriptors(pid))
        figures.kib_most = max(figures.kib_most, memory_kib(pid, "Rss"))
        await asyncio.sleep(HEALTH_EVERY_S)


async def _health(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
    finally:
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer[:80]


async def _measure(port: int, pid: int, attack: Attack, figures: Figures, count: int, seconds: float) -> None:
    figures.descriptors_before, figures.kib_before = descriptors(pid), memory_kib(pid, "Rss")
    watching = asyncio.create_task(watch(port, pid, figures))
    await attack.run(count, time.monotonic() + seconds)
    watching.cancel()
    await asyncio.wait({watching})
    await asyncio.sleep(0.1)  # a connection that was given up half-way takes some turns of the loop to go
    with contextlib.suppress(AssertionError):
        until("closed connections", lambda: descriptors(pid) <= figures.descriptors_before, GONE_WITHIN_S)
    figures.descriptors_after, figures.kib_after = descriptors(pid), memory_kib(pid, "Rss")


def run(folder: Path, connections: int, seconds: float) -> Figures:
    """The whole attack on a gateway of its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, connections + SPARE)), hard))
    figures = Figures()
    with running(folder / "data", settings=SETTINGS) as gateway:
        account = gateway.account()
        device = account.device()
        account.http.close()
        attack = Attack(gateway.port, account, device, figures)
        uvloop.run(_measure(gateway.port, gateway.process.pid, attack, figures, connections, seconds))
    return figures


def main(connections: int, seconds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(run(Path(folder), connections, seconds).lines()))


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*(given + [4000, 45][len(given) :]))
