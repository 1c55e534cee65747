"""The reference for real sends: the bare Go library called in a loop. `python -m loopback.bench [COUNT]`."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from loopback.client import Client
from loopback.server import LoopbackServer

SENDER, RECEIVER = "15550000101", "15550000102"
_LIMIT_S = 600


class Pace(NamedTuple):
    """How fast the bare loop was."""

    texts: int
    per_second: float
    p50_ms: float
    p99_ms: float
    server_cpu_ms: float  # the network's own share of each message; 1000 / this is what it could carry


def bare_sends(net: LoopbackServer, client: Client, to: str, count: int) -> Pace:
    """Send `count` texts, one after the other, from a linked client to a registered number."""
    client.send_text(to, "warm up")
    started, cpu = time.perf_counter(), time.process_time()
    laps = sorted(client.call("send_many", to, count, timeout_s=_LIMIT_S))
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    net.phones[to].inbox.clear()
    p99 = laps[min(int(count * 0.99), count - 1)]
    return Pace(count, count / took, statistics.median(laps) * 1e3, p99 * 1e3, cpu / count * 1e3)


def measure(folder: Path, count: int) -> Pace:
    """A network, a client and a phone of their own, and one run."""
    with LoopbackServer(folder / "state") as net:
        net.add_account(RECEIVER)
        database = folder / "sender.db"
        with Client(database, net.client_env(), lambda code: net.scan(SENDER, code)) as client:
            client.wait("Connected")
            client.wait_synced()
            return bare_sends(net, client, RECEIVER, count)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loopback.bench", description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1000)
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        pace = measure(Path(folder), count)
    print(f"{pace.texts} texts: {pace.per_second:.0f}/s, p50 {pace.p50_ms:.2f} ms, p99 {pace.p99_ms:.2f} ms")
    print(f"the network itself: {pace.server_cpu_ms:.2f} ms of CPU a message")


if __name__ == "__main__":
    main()
