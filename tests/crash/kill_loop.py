"""R1 and R2: SIGKILL in mixed traffic on the real engine, again and again, and orderly stops between; then
the books are compared.

python tests/crash/kill_loop.py [cycles, default 200] [seed]
"""

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from crash.books import Books, Kill, Report, Victim
from crash.mixed_traffic import THEIRS, Traffic, compare, events
from hook import receiving
from loopback.server import LoopbackServer
from processes import arguments, descendants
from road import link_by_qr
from running import Account, Running, until

OURS, ALSO_OURS = "628111000111", "628333000333"
READY_S, BACK_S = 3.0, 5.0
"""How soon the gateway is ready after a kill, and a device is connected after its worker was killed."""

TRAFFIC_S = (0.2, 1.2)
UNNOTICED_S = 0.3
OF_TEN: tuple[Victim, ...] = (
    *("group",) * 3,
    *("main",) * 3,
    *("worker",) * 2,
    "fork server",
    "nobody",
)


class Killer:
    """One kill after the other, each in the middle of traffic, with what can be seen at once."""

    def __init__(self, gateway: Running, account: Account, devices: dict[str, str], books: Books) -> None:
        self._gateway = gateway
        self._account = account
        self._devices = devices
        self._books = books

    def carry_out(self, plan: Sequence[Victim]) -> None:
        chance = random.Random(len(plan))
        for victim in plan:
            time.sleep(chance.uniform(*TRAFFIC_S))
            match victim:
                case "worker":
                    self._kill_worker(chance.choice(list(self._devices)))
                case "fork server":
                    self._kill_fork_server()
                case "nobody":
                    self._stop()
                case _:
                    self._kill_main(victim)
            if chance.random() < 0.7:  # sometimes the next kill comes while the sessions are being resumed
                self.all_connected()

    def all_connected(self) -> None:
        for device_id in self._devices.values():
            self._account.connected(device_id)

    def _kill_main(self, victim: Victim) -> None:
        kill = self._noted(Kill(victim, time.monotonic()))
        self._gateway.kill(group=victim == "group")
        self._gateway.start()
        kill.back_s = time.monotonic() - kill.at

    def _stop(self) -> None:
        """As the service manager does it: nothing is lost, and no process has to be killed."""
        self._noted(Kill("nobody", time.monotonic()))
        self._fault_if(self._gateway.stop() != 0, "an orderly stop ended with an error")
        self._gateway.start()

    def _kill_worker(self, number: str) -> None:
        """Only its own device notices."""
        self.all_connected()
        last, workers = self._last_event(), self._workers()
        device_id = self._devices[number]
        kill = self._noted(Kill("worker", time.monotonic(), number))
        os.kill(workers.pop(device_id), signal.SIGKILL)
        until("device that is back", lambda: "CONNECTED" in self._told(device_id, last))
        kill.back_s = time.monotonic() - kill.at
        for other, pid in workers.items():
            self._fault_if(self._told(other, last) != [], "another device noticed the death of a worker")
            self._fault_if(self._workers()[other] != pid, "another worker died with a worker")

    def _kill_fork_server(self) -> None:
        """Nobody notices."""
        self.all_connected()
        last, workers = self._last_event(), self._workers()
        children = set(descendants(self._gateway.process.pid)) - set(workers.values())
        servers = [pid for pid in children if "fork-server" in arguments(pid)]
        self._noted(Kill("fork server", time.monotonic()))
        for pid in servers:
            os.kill(pid, signal.SIGKILL)
        self._fault_if(len(servers) > 1, f"{len(servers)} fork servers")
        time.sleep(UNNOTICED_S)  # time for somebody to notice
        self._fault_if(self._workers() != workers, "a worker died with the fork server")
        for device_id in workers:
            self._fault_if(self._told(device_id, last) != [], "a device noticed the fork server's death")

    def _noted(self, kill: Kill) -> Kill:
        self._books.kills.append(kill)
        return kill

    def _fault_if(self, wrong: bool, fault: str) -> None:
        if wrong:
            self._books.faults.append(fault)

    def _workers(self) -> dict[str, int]:
        """The process of each device's worker, which it has written into its lock."""
        folder = self._gateway.data / "devices"
        return {each: int((folder / each / "lock").read_text()) for each in self._devices.values()}

    def _last_event(self) -> int:
        return max(int(event["data"]["eventId"]) for event in events(self._account))

    def _told(self, device_id: str, after: int) -> list[Any]:
        """The states that were told of the device since."""
        told = [event for event in events(self._account, after) if event["event"] == "device.status"]
        return [event["data"]["status"] for event in told if event["data"]["deviceId"] == device_id]


def run(folder: Path, plan: Sequence[Victim]) -> Report:
    """The whole exercise."""
    books = Books()
    with LoopbackServer(folder / "net") as net, receiving() as hook:
        for number, name in ((OURS, "Ours"), (ALSO_OURS, "Also ours"), (THEIRS, "Theirs")):
            net.add_account(number, name)
        settings = {
            "engine.proxy": net.proxy_url,
            "webhooks.allow": ["loopback"],
            "limits.messages_per_minute": 0,
        }
        gateway = Running(folder / "data", settings=settings, environment=net.client_env()).start()
        try:
            account = gateway.account()
            account.ok("POST", "/webhooks", {"url": hook.url})
            devices = {number: link_by_qr(net, account, number) for number in (OURS, ALSO_OURS)}
            killer = Killer(gateway, account, devices, books)
            traffic = Traffic(net, account, devices, books)
            try:
                killer.carry_out(plan)
            finally:
                traffic.stop()
            killer.all_connected()
            return compare(net, account, hook, books, list(devices))
        finally:
            gateway.close()
            if gateway.process.poll() is None:
                gateway.stop()


def mixed(cycles: int, seed: int) -> list[Victim]:
    """Kills of every kind, in an order that the seed decides."""
    plan = [OF_TEN[n % len(OF_TEN)] for n in range(cycles)]
    random.Random(seed).shuffle(plan)
    return plan


def main(cycles: int, seed: int) -> int:
    with tempfile.TemporaryDirectory(prefix="kill-loop-") as folder:
        report = run(Path(folder), mixed(cycles, seed))
        print("\n".join(report.lines()))
        slow = report.slowest("group", "main") > READY_S or report.slowest("worker") > BACK_S
        return 1 if report.faults or slow else 0


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(given + [200, 1][len(given) :])))
