"""This machine's files as another root, in which everything may be changed: nothing of it stays.

An overlay in a mount namespace of its own. systemd does not run there, and the network is this machine's.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

_LAY = """
set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" none "$1/root"
mount --rbind /dev "$1/root/dev"
mount --rbind /proc "$1/root/proc"
for empty in run tmp mnt opt var/lib; do mount -t tmpfs none "$1/root/$empty"; done
mkdir "$1/root/mnt/in"
mount --bind "$2" "$1/root/mnt/in"
echo laid
exec cat
"""
COMMAND_S = 120.0


class CannotBorrow(Exception):
    """The kernel does not let us mount here; the message is its own."""


class BorrowedRoot:
    """A root below `folder` until it is closed; `given` is its /mnt/in. Raises CannotBorrow."""

    def __init__(self, folder: Path, given: Path) -> None:
        unshare = ("unshare", "--mount", "--propagation", "private")
        self._holder = subprocess.Popen(
            [*unshare, "sh", "-c", _LAY, "-", folder, given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._root = folder / "root"
        assert self._holder.stdout is not None
        if (said := self._holder.stdout.readline()) != "laid\n":
            self.close()
            raise CannotBorrow(said.strip())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the mounts go. What still runs in it keeps its files until it ends."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait(COMMAND_S)
        self._holder.stdout.close()

    def run(
        self, *words: str, env: Mapping[str, str] | None = None, typed: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What a command in it, run as root, answered."""
        return subprocess.run(
            [*self._inside(), *words],
            env=self._environment(env),
            input=typed,
            stdin=subprocess.DEVNULL if typed is None else None,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A command in it that goes on."""
        return subprocess.Popen(
            [*self._inside(), *words],
            env=self._environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def ok(self, *words: str, env: Mapping[str, str] | None = None, typed: str | None = None) -> str:
        """Both outputs of a command that must succeed."""
        done = self.run(*words, env=env, typed=typed)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def _inside(self) -> list[str]:
        pid = str(self._holder.pid)
        return ["nsenter", "--mount", "--target", pid, "chroot", str(self._root)]

    def _environment(self, env: Mapping[str, str] | None) -> dict[str, str]:
        # A service manager's and a shell's own variables have no business there.
        return {"PATH": os.defpath + ":/usr/sbin:/sbin:/usr/local/bin", **(env or {})}
