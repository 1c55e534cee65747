"""S2: real sends, one request at a time: HTTP → worker → neonize → loopback network, beside the bare Go
library called in a loop in the same run.

python tests/bench/send.py [rounds] [seconds of each]
"""

import json
import multiprocessing
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.load import Load, request, run
from loopback.bench import Pace, bare_sends
from loopback.client import Client
from loopback.server import LoopbackServer
from road import link_by_qr
from running import running

OURS, BARE, THEIRS = "628111000001", "628111000002", "628111000003"
SETTINGS = {"limits.messages_per_minute": 0}
RATIO_LIMIT, OVERHEAD_LIMIT_MS = 0.8, 2.0


def http_sends(port: int, key: str, device_id: str, seconds: float) -> Load:
    """Messages through the API on one connection. In a process of its own: this one runs the network."""
    headers = {"X-API-Key": key, "Content-Type": "application/json"}

    def make(n: int) -> bytes:
        body = {"deviceId": device_id, "to": THEIRS, "text": f"text {n}"}
        return request("/messages/send-text", json.dumps(body).encode(), headers)

    return run(port, make, connections=1, seconds=seconds)


def report(bare: list[Pace], ours: list[Load]) -> None:
    ratios = [mine.per_second / theirs.per_second for mine, theirs in zip(ours, bare, strict=True)]
    more_ms = [mine.p50_ms - theirs.p50_ms for mine, theirs in zip(ours, bare, strict=True)]
    print(f"ratio of rates  median {statistics.median(ratios):.2f}   (limit {RATIO_LIMIT})")
    print(f"overhead p50    median {statistics.median(more_ms):.2f} ms   (limit {OVERHEAD_LIMIT_MS} ms)")


def measure(net: LoopbackServer, folder: Path, rounds: int, seconds: float) -> None:
    net.add_account(THEIRS)
    settings = {**SETTINGS, "engine.proxy": net.proxy_url}
    with (
        running(folder / "data", settings=settings, environment=net.client_env()) as gateway,
        Client(folder / "bare.db", net.client_env(), lambda code: net.scan(BARE, code)) as client,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as caller,
    ):
        client.wait("Connected")
        client.wait_synced()
        account = gateway.account()
        device_id = link_by_qr(net, account, OURS)
        send = partial(http_sends, gateway.port, account.key, device_id)
        caller.submit(send, 1.0).result()
        bare, ours = [bare_sends(net, client, THEIRS, 100)], []
        for _ in range(rounds):
            bare.append(bare_sends(net, client, THEIRS, int(bare[-1].per_second * seconds)))
            ours.append(caller.submit(send, seconds).result())
            net.phones[THEIRS].inbox.clear()
            line = (
                f"{bare[-1].per_second:6.0f}/s  p50 {bare[-1].p50_ms:6.2f} ms  p99 {bare[-1].p99_ms:6.2f} ms"
            )
            print(f"{'bare Go library':27} {line}")
            print(ours[-1].line("HTTP to WhatsApp"), flush=True)
        report(bare[1:], ours)


def main(rounds: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder, LoopbackServer(Path(folder) / "net") as net:
        measure(net, Path(folder), rounds, seconds)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else 5, float(given[1]) if len(given) > 1 else 4.0)
