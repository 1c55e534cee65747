"""S6: memory of the idle gateway and of each linked device, in MiB PSS, on the loopback network.

python tests/bench/memory.py [bundle|checkout]
"""

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle import built
from loopback.server import LoopbackServer
from processes import descendants, memory_kib
from road import link_by_qr
from running import PROGRAM, Running, running

COUNTS = (1, 10, 20)
IDLE_LIMIT, DEVICE_LIMIT = 64, 16
SETTLED_KIB = 256
STILL_S = 3.0
"""A worker lets go of what only its start needed when it has been still for two."""
PASSWORD = "a long password"


@dataclass(frozen=True)
class Weight:
    """MiB PSS: the main process, the fork server, all workers together."""

    main: float
    fork_server: float
    workers: float

    @property
    def total(self) -> float:
        return self.main + self.fork_server + self.workers


def weigh(gateway: Running) -> Weight:
    """Once two looks in a row agree: right after work the heap still moves."""
    time.sleep(STILL_S)
    previous = _look(gateway)
    while True:
        time.sleep(0.5)
        now = _look(gateway)
        if abs(now.total - previous.total) * 1024 < SETTLED_KIB:
            return now
        previous = now


def _look(gateway: Running) -> Weight:
    main, helpers = gateway.process.pid, descendants(gateway.process.pid)
    fork_server, workers = helpers[:1], helpers[1:]
    return Weight(*(sum(map(memory_kib, pids)) / 1024 for pids in ([main], fork_server, workers)))


def log_in(gateway: Running) -> None:
    """Register in the browser's way and look at a page: argon2, templates and the session are in memory."""
    with httpx.Client(base_url=gateway.url, follow_redirects=True) as browser:
        page = browser.get("/register").text
        hidden = page.partition('name="csrf" value="')[2].partition('"')[0]
        form = {"csrf": hidden, "name": "A", "email": "a@example.test", "password": PASSWORD}
        answer = browser.post("/register", data=form, headers={"Origin": gateway.url})
        assert answer.is_success, answer.text
        assert answer.url.path == "/dashboard", answer.text


def measure_idle(program: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "data", program=program) as gateway:
        print(f"  idle, just started        {weigh(gateway).main:6.1f}   (limit {IDLE_LIMIT})")
        log_in(gateway)
        print(f"  idle, after a login       {weigh(gateway).main:6.1f}   (limit {IDLE_LIMIT})", flush=True)


def measure_devices(program: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder, LoopbackServer(Path(folder) / "net") as net:
        settings = {"engine.proxy": net.proxy_url}
        with running(
            Path(folder) / "data", settings=settings, environment=net.client_env(), program=program
        ) as gateway:
            account = gateway.account()
            idle = weigh(gateway)
            print(
                f"  devices    main  fork server  workers   all more than idle  each   (limit {DEVICE_LIMIT})"
            )
            linked: list[str] = []
            for count in COUNTS:
                while len(linked) < count:
                    linked.append(link_by_qr(net, account, f"62811100{len(linked):04}"))
                print(_row(count, weigh(gateway), idle), "just linked", flush=True)
                # What an appliance lives with: linked long ago, resumed at boot.
                assert gateway.stop() == 0
                gateway.start()
                for device_id in linked:
                    account.connected(device_id)
                print(_row(count, weigh(gateway), idle), "after a restart", flush=True)
            alone = [memory_kib(pid, "Private_Dirty") / 1024 for pid in descendants(gateway.process.pid)[1:]]
            print(f"  private to each worker: median {statistics.median(alone):.1f}, most {max(alone):.1f}")


def _row(count: int, now: Weight, idle: Weight) -> str:
    more = now.total - idle.total
    return (
        f"  {count:7}  {now.main:6.1f}  {now.fork_server:11.1f}  {now.workers:7.1f}  "
        f"{more:19.1f}  {more / count:4.1f}  "
    )


def main(kinds: list[str]) -> None:
    for kind in kinds or ["bundle", "checkout"]:
        program = (str(built()),) if kind == "bundle" else PROGRAM
        print(f"{kind}, MiB PSS")
        measure_idle(program)
        measure_devices(program)


if __name__ == "__main__":
    main(sys.argv[1:])
