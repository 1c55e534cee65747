"""S5: how fast webhooks leave for a receiver that answers at once, and what a thousand receivers that never
answer do to a good one and to our memory.

python tests/bench/webhooks.py [rate|hanging …]
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.load import quantile
from bench.sink import Sink, Taken
from processes import memory_kib
from running import Account, Running, running, until

SETTINGS = {"webhooks.allow": ["loopback"], "logs.level": "warning"}
ONLY = ["message.received"]
RATE_LIMIT, P99_LIMIT_MS, MEMORY_LIMIT_MIB = 1000, 1000, 60
BACKLOG = 16_000
SHAPES = ((1, 1), (1, 8), (8, 8))
HANGING, GOOD_PER_S, WATCHED_S = 1000, 20, 45.0
STIR_S = 5.0
"""So often something new is told to the receivers that hang."""


def receive(account: Account, device_id: str, count: int = 1) -> None:
    body = {"from": "999000000001", "text": "Halo!", "count": count}
    account.ok("POST", f"/devices/{device_id}/sandbox/receive", body)


def measure_rate(sink: Sink, endpoints: int, devices: int) -> None:
    """Deliveries a second, while they are being queued and after that."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "data", settings=SETTINGS) as gateway,
    ):
        account = gateway.account()
        ids = [account.device(f"d{n}") for n in range(devices)]
        for n in range(endpoints):
            account.ok("POST", "/webhooks", {"url": sink.url(f"good/{n}"), "events": ONLY})
        before = sink.count()
        events = BACKLOG // endpoints // devices
        for device_id in ids:
            for part in range(0, events, 1000):
                receive(account, device_id, min(1000, events - part))
        queued = sink.count() - before
        total = events * devices * endpoints
        until("every webhook", lambda: sink.count() >= before + total, 300)
        print(_rate(sink.taken()[before:], queued, endpoints, devices), flush=True)


def _rate(taken: list[Taken], queued: int, endpoints: int, devices: int) -> str:
    at = [each.at_s for each in taken]
    alone = (len(at) - queued) / (at[-1] - at[queued]) if queued < len(at) - 1 else 0.0
    return (
        f"{endpoints} endpoint(s), {devices} device(s)   {len(at) / (at[-1] - at[0]):6.0f}/s in all, "
        f"{alone:6.0f}/s once all was queued   (limit {RATE_LIMIT}/s)"
    )


def measure_hanging(sink: Sink) -> None:
    """One good receiver of one device beside receivers of another device that never answer."""
    count = min(HANGING, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 100)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "data", settings=SETTINGS) as gateway,
    ):
        account = gateway.account()
        good, bad = account.device("good"), account.device("bad")
        account.ok("POST", "/webhooks", {"url": sink.url("good"), "deviceId": good, "events": ONLY})
        for n in range(count):
            account.ok("POST", "/webhooks", {"url": sink.url(f"hang/{n}"), "deviceId": bad, "events": ONLY})
        alone, _ = watch(gateway, account, sink, good, None)
        idle_mib = memory_kib(gateway.process.pid) / 1024
        beside, most_mib = watch(gateway, account, sink, good, bad)
        print(f"good receiver alone                  p50 {quantile(alone, 0.5):5.0f} ms", end="")
        print(f"  p99 {quantile(alone, 0.99):5.0f} ms")
        print(f"good receiver beside {count} that hang  p50 {quantile(beside, 0.5):5.0f} ms", end="")
        print(f"  p99 {quantile(beside, 0.99):5.0f} ms   (limit {P99_LIMIT_MS} ms)")
        print(f"memory beside them  +{most_mib - idle_mib:.1f} MiB PSS", end="")
        print(f" on {idle_mib:.1f}   (limit +{MEMORY_LIMIT_MIB} MiB)", flush=True)


def watch(
    gateway: Running, account: Account, sink: Sink, good: str, bad: str | None
) -> tuple[list[float], float]:
    """From an event's commit to the good receiver, in ms, at a steady pace; the most MiB that we had."""
    before, sent, most_kib = sink.count(), 0, 0
    began = time.monotonic()
    stir_at = began
    # The envelope's time is the wall clock's, the sink's the monotonic one.
    wall_ms = (time.time() - time.monotonic()) * 1000
    while (now := time.monotonic()) < began + WATCHED_S / (1 if bad else 3):
        if bad is not None and now >= stir_at:
            receive(account, bad)
            stir_at += STIR_S
        receive(account, good)
        sent += 1
        most_kib = max(most_kib, memory_kib(gateway.process.pid)) if sent % GOOD_PER_S == 0 else most_kib
        time.sleep(max(0.0, began + sent / GOOD_PER_S - time.monotonic()))
    until("every webhook", lambda: sink.count() >= before + sent, 60)
    taken = sink.taken()[before:]
    return [each.at_s * 1000 + wall_ms - each.told().timestamp for each in taken], most_kib / 1024


def main(kinds: list[str]) -> None:
    with Sink() as sink:
        if "rate" in kinds:
            for endpoints, devices in SHAPES:
                measure_rate(sink, endpoints, devices)
        if "hanging" in kinds:
            measure_hanging(sink)


if __name__ == "__main__":
    main(sys.argv[1:] or ["rate", "hanging"])
