"""A real device on 64-bit ARM: what packaging/build-arm64.sh built links, sends, receives and starts again.

    .venv/bin/python tests/e2e/prove_arm64.py [CACHE]

The bundle runs in the Debian root that the build left in CACHE (default: ~/.cache/wa-gateway), under qemu
unless this machine is ARM itself, beside a WhatsApp network on loopback. It needs root and qemu-user-static.
Prints how long each step took.
"""

import base64
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from loopback.server import LoopbackServer
from processes import descendants
from road import link_by_qr, text_both_ways
from running import Account, Running, until

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path("~/.cache/wa-gateway").expanduser()
OURS, THEIRS = "628111000111", "628222000222"
BINFMT = Path("/proc/sys/fs/binfmt_misc")
FILE = bytes(range(256)) * 400


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("Another machine's root can be entered by root only: run this with sudo.")
    cache = Path(sys.argv[1]) if len(sys.argv) > 1 else CACHE
    root = cache / "debian-12-arm64"
    tarballs = sorted((ROOT / "packaging/dist").glob("wa-gateway-*-linux-aarch64.tar.gz"))
    if not tarballs or not (root / ".ready").exists():
        sys.exit("There is nothing to try yet: packaging/build-arm64.sh makes it.")
    with open_root(root), tempfile.TemporaryDirectory(dir=root / "tmp") as folder:
        with step("unpacked"):
            subprocess.run(["tar", "-xzf", tarballs[-1], "--strip-components=1", "-C", folder], check=True)
        prove(root, Path(folder))


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    begun_at = time.monotonic()
    yield
    print(f"{time.monotonic() - begun_at:7.1f} s  {what}", flush=True)


@contextlib.contextmanager
def open_root(root: Path) -> Iterator[None]:
    """The kernel runs its programs, and it sees processes and devices, for the length of a `with` block."""
    with contextlib.ExitStack() as undone:
        handler = BINFMT / "qemu-aarch64"
        if os.uname().machine != "aarch64" and not handler.exists():
            if not (BINFMT / "register").exists():
                subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT], check=True)
            line = Path("/usr/lib/binfmt.d/qemu-aarch64.conf").read_text().strip()
            (BINFMT / "register").write_text(line)
            undone.callback(handler.write_text, "-1")
        for place in ("proc", "dev"):
            subprocess.run(["mount", "--bind", f"/{place}", root / place], check=True)
            undone.callback(close, root / place)
        yield


def close(place: Path) -> None:
    subprocess.run(["umount", "--lazy", place], check=True)


def prove(root: Path, folder: Path) -> None:
    inside = Path("/", folder.relative_to(root))
    with contextlib.ExitStack() as undone:
        # The gateway and those who look at its files call them by one name.
        inside.symlink_to(folder)
        undone.callback(inside.unlink)
        net = undone.enter_context(LoopbackServer(folder / "net"))
        net.add_account(OURS, "Ours")
        net.add_account(THEIRS, "Theirs")
        gateway = Running(
            inside / "data",
            settings={"engine.proxy": net.proxy_url},
            environment=authority(net, folder, inside),
            program=("chroot", str(root), str(inside / "wa-gateway")),
        )
        try:
            use(gateway, net)
        finally:
            if gateway.process.poll() is None:
                print(gateway.logged(), file=sys.stderr)
                gateway.kill()


def authority(net: LoopbackServer, folder: Path, inside: Path) -> dict[str, str]:
    """The network's environment, whose authority lies where the gateway can see it."""
    environment = dict(net.client_env())
    shutil.copy(environment["SSL_CERT_FILE"], folder / "authority.pem")
    return {**environment, "SSL_CERT_FILE": str(inside / "authority.pem")}


def use(gateway: Running, net: LoopbackServer) -> None:
    with step("ready"):
        gateway.start()
    account = gateway.account()
    with step("a real device is linked"):
        device_id = link_by_qr(net, account, OURS)
    with step("a text each way"):
        text_both_ways(net, account, device_id, OURS, THEIRS, "first")
    with step("a file each way"):
        files(account, net, device_id)
    with step("a worker is killed, and its device is connected again"):
        os.kill(descendants(gateway.process.pid)[-1], 9)
        until("loss", lambda: account.ok("GET", f"/devices/{device_id}")["status"] != "CONNECTED")
        account.connected(device_id)
    text_both_ways(net, account, device_id, OURS, THEIRS, "after the worker")
    with step("stopped"):
        assert gateway.stop() == 0
    with step("started, until it is connected"):
        gateway.start()
        account.connected(device_id)
    text_both_ways(net, account, device_id, OURS, THEIRS, "after the start")
    with step("stopped"):
        assert gateway.stop() == 0


def files(account: Account, net: LoopbackServer, device_id: str) -> None:
    body = {"deviceId": device_id, "to": THEIRS, "kind": "document", "filename": "a.bin"}
    account.ok("POST", "/messages/send-media", {**body, "base64": base64.b64encode(FILE).decode()})
    there = net.on_phone(
        THEIRS, lambda phone: phone.wait_for(lambda m: m.message.HasField("documentMessage"))
    )
    assert net.phones[THEIRS].download(there) == FILE
    net.on_phone(THEIRS, lambda phone: phone.send_media(OURS, "document", FILE))
    [here] = until("message", lambda: [m for m in account.every("/messages") if m["kind"] == "document"][:-1])
    until("file", lambda: account.http.get(f"/messages/{here['id']}/media").content == FILE)


if __name__ == "__main__":
    main()
