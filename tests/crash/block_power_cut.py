"""R3 below the file system: a real gateway on ext4 on a disk whose power fails at any moment.

python tests/crash/block_power_cut.py [points, default 500] [seed]      (root, Linux)
"""

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from crash import aftermath, fuse_disk, power_cut
from crash.bad_disk import Books, Clients, send
from crash.fuse_disk import BlockStep
from crash.house_traffic import ENDPOINTS, Ledger, Posted, Send, Stored
from crash.power_cut import MEMORY, Outcome
from crash.tape import LEFT, SECTOR
from hook import Post, receiving
from running import Account, Running, until

from appliance import data_dir

DISK_MIB = 96
TRAFFIC_S = 8.0
START_EVERY = 10
SETTINGS = {"limits.messages_per_minute": 0, "webhooks.allow": ["loopback"]}
ENDED = {"sent", "delivered", "read"}
TOOLS = ("losetup", "mkfs.ext4", "mount", "umount")


class Recording(msgspec.Struct):
    """What the disk was told while the gateway ran, and what the gateway told. The ledger's positions are
    monotonic microseconds. The account is there when the traffic `begins`; from `furnished` on it has a
    device and endpoints. `key` opens the account, `secrets` are the files that must not change."""

    steps: list[BlockStep]
    ledger: Ledger
    furnished: int
    ends: int
    key: str
    secrets: dict[str, bytes]


class DatedPosts(list[Post]):
    """A hook's posts, with the moment at which each arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[tuple[int, Post]] = []

    def append(self, post: Post) -> None:
        self.arrived.append((_us(time.monotonic()), post))
        super().append(post)


class _Platter:
    """The disk's content that is safe, and what is still under way to it."""

    def __init__(self) -> None:
        self._safe = bytearray(DISK_MIB << 20)
        self._pending: list[BlockStep] = []

    def play(self, step: BlockStep, *, heeds_flush: bool) -> None:
        """A flush makes everything before it safe."""
        if not step.flush:
            self._pending.append(step)
        elif heeds_flush:
            for each in self._pending:
                self._safe[each.offset : each.offset + len(each.data)] = each.data
            self._pending = []

    def after_power_cut(self, chance: random.Random) -> bytearray:
        """Of what was under way, any sectors may have arrived."""
        left, share = bytearray(self._safe), chance.choice(LEFT)
        for step in self._pending:
            for start in range(0, len(step.data), SECTOR):
                if chance.random() < share:
                    sector = step.data[start : start + SECTOR]
                    left[step.offset + start : step.offset + start + len(sector)] = sector
        return left


def why_not() -> str | None:
    """Why this cannot run here; None when it can."""
    if os.geteuid() != 0:
        return "only root may make block devices"
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not Path(device).exists():
            return f"there is no {device}"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def record(folder: Path, traffic_s: float = TRAFFIC_S) -> Recording:
    """Run a gateway with clients on a recording disk."""
    log = folder / "blocks.log"
    with _recording_disk(folder, log) as mounted:
        recording = _traffic(mounted / "data", traffic_s)
    recording.steps = list(fuse_disk.steps(log))
    return recording


def cut(
    recording: Recording,
    points: int,
    seed: int,
    folder: Path,
    outcome: Outcome,
    *,
    heeds_flushes: bool = True,
) -> None:
    """Cut the power at that many moments, every second one right after something was told. With
    `heeds_flushes` False the disk only says that it has flushed, from the beginning of the traffic on."""
    chance, ledger, disk = random.Random(seed), recording.ledger, _Platter()
    steps = iter(recording.steps)
    ahead = next(steps, None)
    moments = sorted(power_cut.points(ledger, recording.ends, points, chance))
    for number, moment in enumerate(moments):
        while ahead is not None and _us(ahead.at) <= moment:
            disk.play(ahead, heeds_flush=heeds_flushes or _us(ahead.at) < ledger.begins)
            ahead = next(steps, None)
        try:
            with _restored(folder, disk.after_power_cut(chance)) as mounted:
                found = _faults(
                    mounted / "data", recording, moment, starts=number % START_EVERY == START_EVERY // 2
                )
        except subprocess.CalledProcessError as error:
            found = [f"cannot be mounted: {error.stderr}"]
        power_cut.count(outcome, moment - ledger.begins, found)


def run(points: int, seed: int, traffic_s: float = TRAFFIC_S, *, heeds_flushes: bool = True) -> Outcome:
    """One recording, and its power cut at many points."""
    outcome, began = Outcome(), time.monotonic()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        folder = Path(name)
        cut(record(folder, traffic_s), points, seed, folder, outcome, heeds_flushes=heeds_flushes)
    outcome.seconds = time.monotonic() - began
    return outcome


def _traffic(data: Path, traffic_s: float) -> Recording:
    gateway, books, posts = Running(data, SETTINGS), Books(), DatedPosts()
    gateway.log = data.parent.with_suffix(".txt")
    with receiving() as hook:
        hook.posts = posts
        gateway.start()
        try:
            account = gateway.account()
            begins = _us(time.monotonic())
            for n in range(ENDPOINTS):
                account.ok("POST", "/webhooks", {"url": f"{hook.url}/{n}"})
            device_id = account.device()
            secrets = {"secret.key": (data / "secret.key").read_bytes()}
            furnished = _us(time.monotonic())
            clients = Clients(account, device_id, books)
            time.sleep(traffic_s)
            clients.stop()
            ends = _us(time.monotonic())
            account_id = account.ok("GET", "/auth/me")["id"]
        finally:
            gateway.close()
            gateway.kill()
    ledger = Ledger(account_id, device_id, begins)
    for answer in books.sends:
        if answer.message_id is not None:
            key = answer.text.replace(" ", "-")
            ledger.sends.append(Send(_us(answer.at), key, answer.message_id))
    ledger.stored += [Stored(_us(a.at), a.message_id) for a in books.receives if a.message_id is not None]
    ledger.posted += [Posted(at, post.event_id, post.body) for at, post in posts.arrived]
    return Recording([], ledger, furnished, ends, account.key, secrets)


def _faults(data: Path, recording: Recording, moment: int, *, starts: bool) -> list[str]:
    path, ledger = data_dir.database_path(data), recording.ledger
    found = [
        f"file lost: {name}"
        for name, content in recording.secrets.items()
        if not (data / name).exists() or (data / name).read_bytes() != content
    ]
    try:
        if starts and moment > recording.furnished:
            found += _start(data, recording)
        asyncio.run(aftermath.boot(path, ledger))
        return found + aftermath.faults(path, ledger, moment)
    except power_cut.UNUSABLE as error:
        return [*found, f"cannot be used: {type(error).__name__} {error}"]


def _start(data: Path, recording: Recording) -> list[str]:
    """A real start: the key still opens the account, the device is there and sends."""
    gateway = Running(data, SETTINGS)
    gateway.log = data.parent.with_suffix(".txt")
    try:
        gateway.start()
        account = Account(gateway.url, recording.key)
        device_id = recording.ledger.device_id
        account.connected(device_id)
        sent = send(account.http, device_id, "after the cut").json()
        until("send", lambda: account.ok("GET", f"/messages/{sent['id']}")["status"] in ENDED)
        account.http.close()
    except AssertionError as error:
        return [f"does not start: {error}"]
    finally:
        if gateway.process.poll() is None:
            gateway.kill()
    return []


@contextmanager
def _recording_disk(folder: Path, log: Path) -> Iterator[Path]:
    """A fresh ext4 on a disk that writes to `log`; where it is mounted."""
    file = folder / "disk"
    file.touch()
    program = Path(fuse_disk.__file__)
    command = [sys.executable, str(program), str(file), str(DISK_MIB), str(log)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"mounted\n"
        with _loop(file) as device:
            made = ["mkfs.ext4", "-q", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", device]
            _run(*made)
            with _mounted(device, folder / "recorded") as mounted:
                yield mounted
    finally:
        with contextlib.suppress(OSError):
            fuse_disk.unmount(file)
        server.wait(30)
        if server.stdout is not None:
            server.stdout.close()


@contextmanager
def _restored(folder: Path, content: bytearray) -> Iterator[Path]:
    image = folder / "image"
    image.write_bytes(content)
    with _loop(image) as device, _mounted(device, folder / "restored") as mounted:
        yield mounted


@contextmanager
def _loop(file: Path) -> Iterator[str]:
    device = _run("losetup", "-f", "--show", str(file))
    try:
        yield device
    finally:
        _run("losetup", "-d", device)


@contextmanager
def _mounted(device: str, folder: Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    _run("mount", device, str(folder))
    try:
        yield folder
    finally:
        _run("umount", str(folder))


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def _us(seconds: float) -> int:
    return int(seconds * 1_000_000)


if __name__ == "__main__":
    if (reason := why_not()) is not None:
        sys.exit(reason)
    result = run(int(sys.argv[1]) if len(sys.argv) > 1 else 500, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    print("\n".join(result.lines()))
    sys.exit(1 if result.broken else 0)
