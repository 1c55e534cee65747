"""A small HTTP/1.1 load generator: keep-alive connections, one request at a time on each, answers counted
and timed."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import uvloop


@dataclass
class Load:
    """What a run gave: answers by status, and every answer's time in ms."""

    seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    times_ms: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return len(self.times_ms) / self.seconds

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.times_ms)

    @property
    def p99_ms(self) -> float:
        return quantile(self.times_ms, 0.99)

    def line(self, name: str) -> str:
        """One row for people."""
        return (
            f"{name:28} {self.per_second:8.0f}/s  p50 {self.p50_ms:6.2f} ms  p99 {self.p99_ms:6.2f} ms  "
            f"{dict(sorted(self.statuses.items()))}"
        )


def quantile(values: Iterable[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def now_s() -> float:
    """Seconds on the system's monotonic clock, the same in every process."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def request(path: str, body: bytes, headers: dict[str, str], method: str = "POST") -> bytes:
    """The bytes of a request."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def run(
    port: int,
    make: Callable[[int], bytes],
    *,
    connections: int = 64,
    seconds: float = 5.0,
    every_s: float = 0.0,
) -> Load:
    """Send `make(n)` (n counts up) on every connection for that long, or one request `every_s` on each; the
    first fifth is a warm-up, not counted."""
    return uvloop.run(_run(port, make, connections, seconds, every_s))


async def _run(
    port: int, make: Callable[[int], bytes], connections: int, seconds: float, every_s: float
) -> Load:
    load, count = Load(seconds), iter(range(1 << 60))
    warm_until = time.perf_counter() + seconds / 5
    end = warm_until + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        next_at = time.perf_counter()
        while (started := time.perf_counter()) < end:
            if every_s:
                next_at = max(next_at + every_s, started)
                await asyncio.sleep(next_at - started)
                started = time.perf_counter()
            writer.write(make(next(count)))
            head = await reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            at = lower.index(b"content-length:") + 15
            await reader.readexactly(int(lower[at : lower.index(b"\r", at)]))
            if started >= warm_until:
                status = int(head[9:12])
                load.statuses[status] = load.statuses.get(status, 0) + 1
                load.times_ms.append((time.perf_counter() - started) * 1000)
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return load
