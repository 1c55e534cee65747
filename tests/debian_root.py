"""A clean Debian 12 without Python that boots its own systemd in a container, with no network but loopback.

Needs root, and Debian's debootstrap and systemd-container packages.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from running import until

PACKAGES = "systemd,systemd-sysv,ca-certificates"
NEEDED = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container"}
"""Commands, and Debian's packages that hold them."""

COMMAND_S = 900.0
BOOT_S = 120.0
_CLONE_NEWNET = 0x40000000


def make_pristine(folder: Path) -> Path:
    """The root that others are copied from; it is made where it is not there yet, in a minute or two. Ends
    the program when it cannot be."""
    if os.geteuid() != 0:
        sys.exit("A clean Debian can be made and booted by root only: run this with sudo.")
    missing = [package for command, package in NEEDED.items() if shutil.which(command) is None]
    if missing:
        sys.exit(f"First: apt-get install -y --no-install-recommends {' '.join(missing)}")
    if not (folder / "etc/debian_version").exists():
        options = ("--variant=minbase", f"--include={PACKAGES}")
        subprocess.run(
            ["debootstrap", *options, "bookworm", folder], check=True, stdout=sys.stderr, timeout=COMMAND_S
        )
        (folder / "etc/machine-id").write_text("")
    return folder


class DebianRoot:
    """A copy of the pristine root at `folder`. It may be booted again and again."""

    def __init__(self, pristine: Path, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["cp", "--archive", "--reflink=auto", pristine, folder], check=True, timeout=COMMAND_S)
        self._container: subprocess.Popen[bytes] | None = None
        self._init = 0

    def boot(self) -> Self:
        """Start its systemd, and wait until everything that it starts stands."""
        options = ("--boot", "--register=no", "--keep-unit", "--private-network", "--console=pipe", "--quiet")
        with self.folder.with_suffix(".console").open("ab") as console:
            self._container = subprocess.Popen(
                ["systemd-nspawn", *options, f"--directory={self.folder}"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        until("boot", self._is_up, BOOT_S)
        return self

    def shut_down(self) -> None:
        """As the power button does: every service is stopped in order."""
        if self._container is not None:
            os.kill(self._init, signal.SIGRTMIN + 4)
            self._container.wait(BOOT_S)
            self._container = None

    def remove(self) -> None:
        """Let nothing of it stay."""
        if self._container is not None:
            # Its first process takes all others along; nspawn, killed by itself, would leave them running.
            if self._init:
                os.kill(self._init, signal.SIGKILL)
            else:
                self._container.kill()
            self._container.wait(BOOT_S)
        shutil.rmtree(self.folder)

    def run(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """What a command in it, run as root, answered."""
        inside = ["nsenter", "--all", "--target", str(self._init), *words]
        path = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        return subprocess.run(
            inside, env=path, input=typed, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )

    def ok(self, *words: str, typed: str = "") -> str:
        """The output of a command that must succeed."""
        done = self.run(*words, typed=typed)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def enter_network(self) -> None:
        """From now on the calling thread, and those it starts, have the container's network: its loopback."""
        with Path(f"/proc/{self._init}/ns/net").open() as network:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(network.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def write(self, path: str, text: str) -> None:
        """Put a file there."""
        file = self.folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def _is_up(self) -> bool:
        # Helpers that set the container up come and go before its first process.
        assert self._container is not None
        assert self._container.poll() is None, "the container ended at once"
        children = (
            Path(f"/proc/{self._container.pid}/task/{self._container.pid}/children").read_text().split()
        )
        self._init = int(children[0]) if children else 0
        return bool(children) and self.run("systemctl", "is-system-running").stdout.strip() == "running"
