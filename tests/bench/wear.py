"""S9: how much is written to the disk for each message that arrives, is told and is delivered; and when
nothing happens.

python tests/bench/wear.py [messages] [idle seconds]
"""

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.sink import Sink
from running import Account, Running, running, until

SETTINGS = {"webhooks.allow": ["loopback"], "limits.messages_per_minute": 0, "logs.level": "warning"}
DEVICES = 4
LIMIT_BYTES = 6_000
TEXT = "Selamat pagi, pesanan nomor {n} sudah kami kirim hari ini. Terima kasih banyak!"


def written(gateway: Running) -> int:
    """Bytes that the main process has had written to the disk (the kernel's count; what was overwritten
    before it got there does not count)."""
    lines = Path(f"/proc/{gateway.process.pid}/io").read_text("ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def receive(account: Account, device_id: str, n: int, at_once: int) -> None:
    """Have messages arrive from one of many people."""
    body = {"from": f"99900{n % 300:07}", "text": TEXT.format(n=n), "count": at_once}
    account.ok("POST", f"/devices/{device_id}/sandbox/receive", body)


def load(account: Account, devices: list[str], messages: int, at_once: int) -> None:
    """That many messages, on all devices side by side."""
    with ThreadPoolExecutor(len(devices)) as pool:
        rounds = range(messages // at_once)
        for done in [pool.submit(receive, account, devices[n % len(devices)], n, at_once) for n in rounds]:
            done.result()


def measure(
    gateway: Running,
    account: Account,
    devices: list[str],
    name: str,
    at_once: int,
    many: int,
    sink: Sink | None = None,
) -> None:
    """Let them arrive, have them delivered to the sink, and say what was written."""
    before, told = written(gateway), sink.count() if sink else 0
    load(account, devices, many, at_once)
    if sink:
        until("every webhook", lambda: sink.count() >= told + many, 120)
    each = (written(gateway) - before) / many / 1000
    print(f"{name:14} {each:6.1f} kB written for each message   (limit {LIMIT_BYTES / 1000} kB)", flush=True)


def main(messages: int, idle_s: float) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Sink() as sink,
        running(Path(folder) / "data", settings=SETTINGS) as gateway,
    ):
        account = gateway.account()
        devices = [account.device(f"d{n}") for n in range(DEVICES)]
        measure(gateway, account, devices, "warm-up", 20, messages)
        measure(gateway, account, devices, "no webhook", 20, messages)
        account.ok("POST", "/webhooks", {"url": sink.url("good"), "events": ["message.received"]})
        measure(gateway, account, devices, "under load", 20, messages, sink)
        measure(gateway, account, devices, "one at a time", 1, messages // 10, sink)
        before = written(gateway)
        time.sleep(idle_s)
        print(
            f"idle           {(written(gateway) - before) * 3600 / idle_s / 1000:6.1f} kB an hour",
            flush=True,
        )


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 4_000,
        float(sys.argv[2]) if len(sys.argv) > 2 else 60.0,
    )
