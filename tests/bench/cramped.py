"""S6: ten devices with traffic both ways where all of the gateway's processes together, and the files of the
program that they read, get 256 MiB from the kernel.

python tests/bench/cramped.py [bundle|checkout] [devices] [seconds] [MiB] [a file every so many messages]
(root, Linux)
"""

import contextlib
import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.memory import log_in
from bench.sink import Sink
from bench.startup import forget_files
from bundle import built
from loopback.phone import Phone
from loopback.server import LoopbackServer
from processes import descendants, memory_kib
from road import link_by_qr
from running import PROGRAM, Account, Running, running, until

THEIRS = "628111000099"
OURS = "6281110001{:02}"
EVERY_S = 1.0
FILE = os.urandom(300_000)
MIB = 1 << 20
V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Room:
    """A control group with a limit; `folder` is its own, in version 1 or 2 of the kernel's files."""

    folder: Path

    @property
    def _v1(self) -> bool:
        return self.folder.is_relative_to(V1)

    def limit(self, size: int) -> None:
        name = "memory.limit_in_bytes" if self._v1 else "memory.max"
        (self.folder / name).write_text(str(size))

    def peak(self) -> int:
        """Bytes: the most that was taken, what the kernel keeps of read files included."""
        return int(self._read("memory.max_usage_in_bytes" if self._v1 else "memory.peak"))

    def held(self) -> int:
        """Bytes taken now that the kernel cannot take back without ending something."""
        stat = dict(line.split() for line in self._read("memory.stat").splitlines())
        return int(stat["rss" if self._v1 else "anon"])

    def killed(self) -> int:
        """How many processes the kernel has ended for lack of room."""
        found = self._read("memory.oom_control" if self._v1 else "memory.events")
        return int(dict(line.split() for line in found.splitlines())["oom_kill"])

    def within(self, program: tuple[str, ...]) -> tuple[str, ...]:
        """The command that runs the program in this room."""
        enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        return ("/bin/sh", "-c", enter, str(self.folder), *program)

    def _read(self, name: str) -> str:
        return (self.folder / name).read_text()


@contextmanager
def room(mib: int) -> Iterator[Room]:
    base = V1 if V1.is_dir() else V2
    made = Room(base / f"wa-gateway-bench-{os.getpid()}")
    made.folder.mkdir()
    try:
        made.limit(mib * MIB)
        yield made
    finally:
        until("empty control group", lambda: _removed(made.folder))


def _removed(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def answer(account: Account, device_id: str, files: int, until_s: float) -> Counter[int]:
    """One device's owner: sends on and on, now and then a file, and looks at what came; answers by status."""
    seen: Counter[int] = Counter()
    for n in steps(until_s):
        target = {"deviceId": device_id, "to": THEIRS}
        if not files or n % files:
            sent = account.http.post("/messages/send-text", json={**target, "text": f"message {n}"})
        else:
            form = {**target, "kind": "document", "caption": f"file {n}"}
            sent = account.http.post("/messages/send-media", data=form, files={"file": ("file.bin", FILE)})
        looked = account.http.get(f"/messages?deviceId={device_id}&limit=50")
        seen.update((sent.status_code, looked.status_code))
    return seen


def write(net: LoopbackServer, devices: int, files: int, until_s: float) -> int:
    """The people out there: a text a second to every device, now and then a file; how many in all."""

    async def round_of(phone: Phone, n: int) -> None:
        for ours in map(OURS.format, range(devices)):
            if not files or n % files:
                await phone.send_text(ours, f"text {n}")
            else:
                await phone.send_media(ours, "document", FILE, filename="file.bin")

    written = 0
    for n in steps(until_s):
        net.on_phone(THEIRS, partial(round_of, n=n))
        written += devices
    return written


def steps(until_s: float) -> Iterator[int]:
    """Numbers from 1 on, one in EVERY_S at most, until the monotonic clock says so much."""
    for n in itertools.count(1):
        began = time.monotonic()
        if began >= until_s:
            return
        yield n
        time.sleep(max(0.0, EVERY_S - (time.monotonic() - began)))


def look(gateway: Running) -> float:
    """MiB PSS of all of its processes."""
    pids = [gateway.process.pid, *descendants(gateway.process.pid)]
    return sum(map(memory_kib, pids)) / 1024


def traffic(
    net: LoopbackServer, sink: Sink, account: Account, linked: list[str], files: int, seconds: float
) -> None:
    end, before = time.monotonic() + seconds, sink.count()
    with ThreadPoolExecutor(len(linked) + 1) as pool:
        writing = pool.submit(write, net, len(linked), files, end)
        owners = [pool.submit(answer, account, each, files, end) for each in linked]
        answers = sum((each.result() for each in owners), Counter[int]())
        written = writing.result()
    began = time.monotonic()
    until("every webhook", lambda: sink.count() >= before + written, 60)
    print(
        f"  answers {dict(answers)}, {written} arrived, all delivered {time.monotonic() - began:.1f} s after"
    )


def main(kind: str, devices: int, seconds: float, mib: int, files: int) -> None:
    program = (str(built()),) if kind == "bundle" else PROGRAM
    with (
        tempfile.TemporaryDirectory() as folder,
        LoopbackServer(Path(folder) / "net") as net,
        Sink() as sink,
        room(mib) as limited,
    ):
        net.add_account(THEIRS)
        settings = {
            "engine.proxy": net.proxy_url,
            "webhooks.allow": ["loopback"],
            "limits.messages_per_minute": 0,
        }
        forget_files(program)
        with running(
            Path(folder) / "data",
            settings=settings,
            environment=net.client_env(),
            program=limited.within(program),
        ) as gateway:
            log_in(gateway)
            account = gateway.account()
            account.ok("POST", "/webhooks", {"url": sink.url("good"), "events": ["message.received"]})
            linked = [link_by_qr(net, account, OURS.format(n)) for n in range(devices)]
            print(f"{kind}, {devices} devices within {mib} MiB")
            print(f"  just linked   {look(gateway):6.1f} MiB PSS")
            traffic(net, sink, account, linked, files, seconds)
            for device_id in linked:
                account.connected(device_id)
            print(f"  after traffic {look(gateway):6.1f} MiB PSS")
            print(
                f"  of the limit: at most {limited.peak() / MIB:.1f} with cached files, "
                f"{limited.held() / MIB:.1f} held now; {limited.killed()} processes ended for lack of room"
            )


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[2:]] + [10, 60, 256, 0][len(sys.argv[2:]) :]
    main(sys.argv[1] if len(sys.argv) > 1 else "bundle", *given)
