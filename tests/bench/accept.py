"""S1: how fast messages are accepted onto disk, beside an empty POST in the same run.

python tests/bench/accept.py [seconds]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.load import Load, request, run
from running import Running, free_port, running

SETTINGS = {"limits.messages_per_minute": 0, "limits.queue_per_device": 10_000_000}


def empty(seconds: float) -> Load:
    port = free_port()
    program = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("empty.py")), str(port)]
    with subprocess.Popen(program) as server:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                httpx.get(f"http://127.0.0.1:{port}/")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        load = run(
            port,
            lambda _: request("/empty", b'{"text":"x"}', {"Content-Type": "application/json"}),
            seconds=seconds,
        )
        server.kill()
    return load


def accept(gateway: Running, devices: int, seconds: float) -> Load:
    account = gateway.account()
    ids = [account.device(f"d{n}") for n in range(devices)]
    headers = {"X-API-Key": account.key, "Prefer": "respond-async", "Content-Type": "application/json"}

    def make(n: int) -> bytes:
        body = {"deviceId": ids[n % devices], "to": "999000000001", "text": f"message {n}"}
        return request("/messages/send-text", json.dumps(body).encode(), headers)

    return run(gateway.port, make, seconds=seconds)


def main(seconds: float) -> None:
    base = empty(seconds)
    print(base.line("empty POST"))
    for devices in (1, 8):
        with (
            tempfile.TemporaryDirectory() as folder,
            running(Path(folder) / "data", settings=SETTINGS) as gateway,
        ):
            load = accept(gateway, devices, seconds)
            print(
                load.line(f"accept, {devices} device(s)"),
                f"ratio {load.per_second / base.per_second:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)
