"""The whole life of an appliance on a clean Debian 12 without Python, under its real systemd:

    .venv/bin/python tests/e2e/prove_debian.py [--root FOLDER] [--keep]

Installs from the tarball, links a sandbox device and a real one (on a WhatsApp network of its own), sends,
starts the machine again, stops the process so that the watchdog bites, upgrades, takes a broken upgrade back,
backs up, restores on a second machine, removes. Prints how long each step took. It needs root and Debian's
debootstrap and systemd-container; nothing in it reaches another network than its own loopback. FOLDER keeps
the clean root for the next time.
"""

import argparse
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

from bundle import built
from debian_root import DebianRoot, make_pristine
from loopback.server import LoopbackServer
from road import link_by_qr, text_both_ways
from running import Account, until

from appliance import __version__

ROOT = Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:8080"
OURS, THEIRS = "628111000111", "628222000222"
DATA = "/var/lib/wa-gateway"
LATER, BROKEN = "99.0.0", "99.1.0"
DROP_IN = "/etc/systemd/system/wa-gateway.service.d/loopback.conf"
AUTHORITY = "/etc/loopback-authority.pem"
PASSPHRASE = "a passphrase for the proof"
FIRST, SECOND = "sent before the upgrade", "sent after the broken upgrade"
WATCHDOG_S = 60.0

_begun_at = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, help="keep the clean root here, or take it from here")
    parser.add_argument("--keep", action="store_true", help="leave everything lying there, to look at")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="wa-gateway-proof-"))
    try:
        prove(work, options.root or work / "pristine")
        print(f"all of it: {time.monotonic() - _begun_at:.0f} s")
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    begun_at = time.monotonic()
    yield
    print(f"{time.monotonic() - begun_at:7.1f} s  {what}", flush=True)


def prove(work: Path, pristine: Path) -> None:
    with step("a clean Debian 12"):
        make_pristine(pristine)
    with step(f"bundles: {__version__}, {LATER} with a migration more, {BROKEN} that migrates and dies"):
        tarballs = {__version__: tarball_of(ROOT), **later_tarballs(work)}
    machine = DebianRoot(pristine, work / "first")
    second = DebianRoot(pristine, work / "second")
    for root in (machine, second):
        for tarball in tarballs.values():
            subprocess.run(["tar", "-xzf", tarball, "-C", root.folder / "root"], check=True)
    try:
        with step("boot"):
            machine.boot()
        machine.enter_network()
        proof = Proof(machine, second, work / "net")
        proof.net.add_account(OURS, "Ours")
        proof.net.add_account(THEIRS, "Theirs")
        proof.all()
        proof.net.stop()
    finally:
        machine.remove()
        second.remove()


def tarball_of(checkout: Path) -> Path:
    if checkout == ROOT:
        built()
    else:
        (checkout / ".venv").symlink_to(ROOT / ".venv")
        subprocess.run([checkout / "packaging/build.sh"], check=True, stdout=subprocess.DEVNULL)
    made = sorted((checkout / "packaging/dist").glob("wa-gateway-*.tar.gz"), key=lambda p: p.stat().st_mtime)
    return made[-1]


def later_tarballs(work: Path) -> dict[str, Path]:
    """What later versions would be: real builds of sources that were changed."""
    made = {}
    for version in (LATER, BROKEN):
        checkout = work / f"sources-{version}"
        ignored = shutil.ignore_patterns(
            ".git", ".venv", "build", "dist", "artefacts", "__pycache__", "node_modules"
        )
        shutil.copytree(ROOT, checkout, ignore=ignored, symlinks=True)
        edit(checkout / "appliance/__init__.py", f'"{__version__}"', f'"{version}"')
        steps = checkout / "appliance/store/migrations"
        number = len(list(steps.glob("*.sql"))) + 1
        for extra in range(1 if version == LATER else 2):
            (steps / f"{number + extra:04}_proof.sql").write_text(
                f"CREATE TABLE proof_{extra} (n INTEGER PRIMARY KEY) STRICT;\n"
            )
        if version == BROKEN:
            edit(
                checkout / "appliance/store/opening.py",
                "        begun(database)",
                '        raise SystemExit("broken on purpose, after migrating")',
            )
        made[version] = tarball_of(checkout)
    return made


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, f"{file} has no {old}"
    file.write_text(text.replace(old, new, 1))


class Proof:
    """The machine that everything happens on, a second one for the backup, and WhatsApp."""

    def __init__(self, machine: DebianRoot, second: DebianRoot, network: Path) -> None:
        self.machine = machine
        self.second = second
        self.network = network
        self.net = LoopbackServer(network).start()
        self.account: Account
        self.device_id = ""

    def all(self) -> None:
        self.install()
        self.use()
        self.look_at_the_unit()
        self.start_again()
        self.watchdog()
        self.upgrade()
        self.broken_upgrade()
        self.change_while_stopped()
        self.back_up_and_restore()
        self.reload()
        self.uninstall()

    def install_sh(
        self, machine: DebianRoot, version: str, *words: str
    ) -> "subprocess.CompletedProcess[str]":
        folder = f"/root/wa-gateway-{version}-linux-{os.uname().machine}"
        return machine.run(f"{folder}/install.sh", *words)

    def must(self, machine: DebianRoot, version: str, *words: str) -> str:
        done = self.install_sh(machine, version, *words)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def lead_to_whatsapp(self, machine: DebianRoot) -> None:
        """Settings of the service, as an administrator makes them: the way out, and whom to trust."""
        authority = Path(self.net.client_env()["SSL_CERT_FILE"])
        machine.write(AUTHORITY, authority.read_text())
        out = f"Environment=WA_GATEWAY_ENGINE__PROXY={self.net.proxy_url}"
        machine.write(DROP_IN, f"[Service]\nEnvironment=SSL_CERT_FILE={AUTHORITY}\n{out}\n")

    def install(self) -> None:
        assert self.machine.run("sh", "-c", "command -v python3").returncode != 0, "there is a Python"
        with step("install.sh install, until it is ready"):
            said = self.must(self.machine, __version__, "install")
        assert f"{URL} is ready" in said
        with step("install.sh install once more"):
            assert "nothing was changed" in self.must(self.machine, __version__, "install")

    def use(self) -> None:
        self.lead_to_whatsapp(self.machine)
        self.machine.ok("systemctl", "daemon-reload")
        self.machine.ok("systemctl", "restart", "wa-gateway")
        words = ("user", "create", "--email", "a@example.org", "--admin", "--password-stdin")
        key = self.machine.ok("wa-gateway", *words, typed="a long password\n").strip()
        self.account = Account(URL, key)
        with step("smoke test: a sandbox device links, sends, receives"):
            smoke = ROOT / "packaging/smoke.py"
            subprocess.run(
                [sys.executable, smoke, URL], input=key.encode(), check=True, stdout=subprocess.DEVNULL
            )
        with step("a real device links, sends, receives"):
            self.device_id = link_by_qr(self.net, self.account, OURS)
            self.both_ways(FIRST)

    def both_ways(self, text: str) -> None:
        self.account.connected(self.device_id, 60)
        text_both_ways(self.net, self.account, self.device_id, OURS, THEIRS, text)

    def texts(self) -> list[str]:
        return [m["text"] for m in self.account.every("/messages")]

    def look_at_the_unit(self) -> None:
        said = self.machine.ok("systemd-analyze", "security", "wa-gateway").splitlines()[-1]
        shown = self.machine.ok(
            *("systemctl", "show", "wa-gateway", "--property"),
            "MemoryDenyWriteExecute,Type,WatchdogUSec,KillMode,NRestarts,User",
        )
        print(f"           {said.strip()}; {' '.join(shown.split())}")

    def main_pid(self) -> str:
        return self.machine.ok("systemctl", "show", "wa-gateway", "--property=MainPID", "--value").strip()

    def reload(self) -> None:
        before = self.main_pid()
        done = self.machine.run("systemctl", "reload", "wa-gateway")
        words = self.machine.ok("journalctl", "--unit=wa-gateway", "--lines=20", "--output=cat", "--no-pager")
        assert done.returncode == 0, words
        assert self.main_pid() == before

    def start_again(self) -> None:
        with step("the machine is shut down"):
            self.machine.shut_down()
        with step("and starts again, until the gateway is connected"):
            self.machine.boot()
            self.rejoin()
            self.account.connected(self.device_id, 60)
        self.both_ways("after the restart")

    def rejoin(self) -> None:
        """Its network is a new one now, and WhatsApp goes on in it."""
        self.net.stop()
        self.machine.enter_network()
        self.net = LoopbackServer(self.network).start()
        self.account = Account(URL, self.account.key)
        until("gateway", lambda: self.machine.run("wa-gateway", "healthcheck").returncode == 0)

    def watchdog(self) -> None:
        before = self.main_pid()
        self.machine.ok("systemctl", "kill", "--kill-whom=main", "--signal=STOP", "wa-gateway")
        with step("a hanging process is replaced by the watchdog"):
            until("other process", lambda: self.main_pid() not in {before, "0"}, WATCHDOG_S * 2)
            until("gateway", lambda: self.machine.run("wa-gateway", "healthcheck").returncode == 0)
        self.both_ways("after the watchdog")

    def upgrade(self) -> None:
        with step(f"upgrade to {LATER}"):
            self.must(self.machine, LATER, "upgrade")
        assert LATER in self.machine.ok("wa-gateway", "version")
        assert FIRST in self.texts()
        self.both_ways("after the upgrade")
        refused = self.install_sh(self.machine, __version__, "upgrade")
        assert "--allow-downgrade" in refused.stderr, refused.stderr

    def broken_upgrade(self) -> None:
        with step(f"upgrade to {BROKEN} fails and is taken back"):
            done = self.install_sh(self.machine, BROKEN, "upgrade")
        assert done.returncode == 1
        assert f"{LATER} is in its place again" in done.stderr, done.stderr
        assert "broken on purpose" in done.stderr, done.stderr
        assert LATER in self.machine.ok("wa-gateway", "version")
        assert FIRST in self.texts()
        self.both_ways(SECOND)

    def change_while_stopped(self) -> None:
        """What root does to a stopped gateway must not lock the gateway out of its own files."""
        self.machine.ok("systemctl", "stop", "wa-gateway")
        words = ("user", "create", "--email", "b@example.org", "--password-stdin")
        self.machine.ok("wa-gateway", *words, typed="a long password\n")
        foreign = self.machine.ok("find", DATA, "!", "-user", "wa-gateway")
        self.machine.ok("systemctl", "start", "wa-gateway")
        assert foreign == "", f"files that root left: {foreign}"

    def back_up_and_restore(self) -> None:
        for machine in (self.machine, self.second):
            machine.write("/root/passphrase", PASSPHRASE)
        with step("backup, while it runs"):
            self.machine.ok(
                "wa-gateway", "backup", "/root/all.backup", "--passphrase-file", "/root/passphrase"
            )
        size = (self.machine.folder / "root/all.backup").stat().st_size
        print(f"           the backup: {size / 2**20:.1f} MiB")
        texts, key = self.texts(), self.account.key
        with step("shut down"):
            self.machine.shut_down()
        shutil.copy(self.machine.folder / "root/all.backup", self.second.folder / "root")
        self.first, self.machine = self.machine, self.second
        with step("a second machine: boot, install"):
            self.machine.boot()
            self.must(self.machine, LATER, "install")
            self.lead_to_whatsapp(self.machine)
            self.machine.ok("systemctl", "stop", "wa-gateway")
        with step("restore there, until it is connected"):
            words = ("restore", "/root/all.backup", "--passphrase-file", "/root/passphrase")
            self.machine.ok("wa-gateway", *words)
            self.machine.ok("systemctl", "daemon-reload")
            self.machine.ok("systemctl", "start", "wa-gateway")
            self.rejoin()
            self.account.connected(self.device_id, 60)
        assert self.account.key == key
        assert self.texts() == texts
        self.both_ways("on the second machine")

    def uninstall(self) -> None:
        with step("uninstall, keeping data; then everything"):
            assert "were kept" in self.must(self.machine, LATER, "uninstall")
            assert (self.machine.folder / DATA[1:] / "gateway.db").exists()
            self.must(self.machine, LATER, "uninstall", "--purge", "--yes")
        left = self.machine.ok("find", "/", "-xdev", "-name", "*wa-gateway*", "-not", "-path", "/root/*")
        assert left.strip() == "", left


if __name__ == "__main__":
    main()
