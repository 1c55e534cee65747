"""S7: how soon `/readyz` says yes from cold, and how soon 20 stored sessions are connected.

python tests/bench/startup.py [bundle|checkout]
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle import built
from loopback.server import LoopbackServer
from road import link_by_qr
from running import PROGRAM, Account, Running, until

STARTS, SESSIONS = 7, 20
READY_LIMIT_S, CONNECTED_LIMIT_S = 1, 3


def forget_files(program: tuple[str, ...]) -> None:
    """Drop the program's files from the kernel's cache, as after a boot; what others have mapped stays."""
    for file in _folder(program).rglob("*"):
        if file.is_file() and not file.is_symlink():
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _folder(program: tuple[str, ...]) -> Path:
    """Where the program's own files are: the bundle, or the environment of the checkout."""
    return Path(sys.prefix) if program is PROGRAM else Path(program[0]).parent


def ready_s(gateway: Running) -> float:
    """By the log's own clock: asking /readyz again and again would take the time that is measured."""
    began = time.time()
    gateway.start()
    lines = [json.loads(line) for line in gateway.logged().splitlines() if line.startswith("{")]
    return float(max(line["at"] for line in lines if line["event"] == "ready") / 1000 - began)


def measure_ready(program: tuple[str, ...]) -> None:
    for cold in (False, True):
        took = []
        for _ in range(STARTS):
            with tempfile.TemporaryDirectory() as folder:
                gateway = Running(Path(folder) / "data", program=program)
                if cold:
                    forget_files(program)
                took.append(ready_s(gateway))
                assert gateway.stop() == 0
        name = "files not cached" if cold else "files cached"
        print(f"  /readyz, {name:18} median {statistics.median(took):.2f} s, most {max(took):.2f} s", end="")
        print(f"   (limit {READY_LIMIT_S} s)", flush=True)


def measure_sessions(program: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder, LoopbackServer(Path(folder) / "net") as net:
        settings = {"engine.proxy": net.proxy_url}
        gateway = Running(
            Path(folder) / "data", settings=settings, environment=net.client_env(), program=program
        ).start()
        account = gateway.account()
        for n in range(SESSIONS):
            link_by_qr(net, account, f"62811100{n:04}")
        assert gateway.stop() == 0
        for _ in range(3):
            began = time.perf_counter()
            ready = ready_s(gateway)
            until("all connected", lambda: _connected(account) == SESSIONS, 60)
            took = time.perf_counter() - began
            print(f"  {SESSIONS} stored sessions connected {took:.2f} s after the start", end="")
            print(f" (ready after {ready:.2f} s; limit {CONNECTED_LIMIT_S} s)", flush=True)
            assert gateway.stop() == 0
        gateway.close()


def _connected(account: Account) -> int:
    devices = account.ok("GET", "/devices", params={"limit": 100})["items"]
    return sum(device["status"] == "CONNECTED" for device in devices)


def main(kinds: list[str]) -> None:
    for kind in kinds or ["bundle", "checkout"]:
        program = (str(built()),) if kind == "bundle" else PROGRAM
        print(kind)
        measure_ready(program)
        measure_sessions(program)


if __name__ == "__main__":
    main(sys.argv[1:])
