"""S4: 10,000 messages arrive at a sandbox device at once: stored and queued, delivered, and what callers of
the API notice meanwhile.

python tests/bench/burst.py [events]
"""

import multiprocessing
import sys
import tempfile
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.load import Load, now_s, request, run
from bench.sink import Sink
from running import Account, running, until

SETTINGS = {"webhooks.allow": ["loopback"], "limits.messages_per_minute": 0, "logs.level": "warning"}
AT_ONCE = 1000
STORED_LIMIT_S, DELIVERED_LIMIT_S = 10, 30
PROBE_EVERY_S = 0.02
QUIET_S = 8.0


def ask(port: int, key: str, device_id: str, seconds: float) -> Load:
    """A caller's steady requests, a read and a send in turn. In a process of its own."""
    headers = {"X-API-Key": key, "Content-Type": "application/json", "Prefer": "respond-async"}
    send = msgspec.json.encode({"deviceId": device_id, "to": "999000000001", "text": "in between"})

    def make(n: int) -> bytes:
        if n % 2:
            return request("/messages/send-text", send, headers)
        return request("/messages?limit=1", b"", headers, "GET")

    return run(port, make, connections=1, seconds=seconds, every_s=PROBE_EVERY_S)


def burst(account: Account, device_id: str, events: int) -> None:
    """Have them written; every answer means: stored, and its delivery queued."""
    for _ in range(events // AT_ONCE):
        account.ok(
            "POST",
            f"/devices/{device_id}/sandbox/receive",
            {"from": "999000000001", "text": "all at once", "count": AT_ONCE},
        )


def report(before: Load, during: Load, stored_s: float, delivered_s: float, events: int) -> None:
    print(f"{events} events stored and queued   {stored_s:6.1f} s   (limit {STORED_LIMIT_S} s)")
    print(f"{events} events delivered           {delivered_s:6.1f} s   (limit {DELIVERED_LIMIT_S} s)")
    print(before.line("API before"))
    print(during.line("API during"))
    print(f"API p99 during / before       {during.p99_ms / before.p99_ms:6.2f}   (limit 1.2)", flush=True)


def main(events: int) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Sink() as sink,
        running(Path(folder) / "data", settings=SETTINGS) as gateway,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as caller,
    ):
        account = gateway.account()
        busy, calm = account.device("busy"), account.device("calm")
        account.ok(
            "POST", "/webhooks", {"url": sink.url("good"), "deviceId": busy, "events": ["message.received"]}
        )
        asking = partial(ask, gateway.port, account.key, calm)
        before = caller.submit(asking, QUIET_S).result()
        began = now_s()
        during: Future[Load] = caller.submit(asking, QUIET_S)
        burst(account, busy, events)
        stored_s = now_s() - began
        until("every webhook", lambda: sink.count() >= events, 300)
        delivered_s = max(taken.at_s for taken in sink.taken()) - began
        report(before, during.result(), stored_s, delivered_s, events)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
