"""The bundle's install.sh, as root, in a root that is borrowed: install, upgrade, going back, uninstall."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from borrowed_root import BorrowedRoot, CannotBorrow
from bundle import BUILD_S, built
from patience import PATIENCE_S
from running import Account, free_port, until

from appliance import __version__

pytestmark = pytest.mark.timeout(BUILD_S + 240)

UNIT = "/etc/systemd/system/wa-gateway.service"
LATER = "99.0.0"
BROKEN = "99.1.0"
FAULTY = "99.2.0"
DATA = "/var/lib/wa-gateway"
# What a later version's program is here: this one, under another number.
RENUMBERED = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
[ "$1" != version ] || {{ echo wa-gateway {version}; exit 0; }}
{before_serving}
exec "$here/program" "$@"
"""
DIES = '[ "$1" != serve ] || { echo "the broken version speaks" >&2; exit 70; }'
# The schema's number stands in the database's header (PRAGMA user_version).
MIGRATES_AND_DIES = f"""
[ "$1" != serve ] || {{
    printf '\\000\\000\\000\\143' | dd of={DATA}/gateway.db bs=1 seek=60 conv=notrunc 2>&1
    exit 70
}}"""


class Machine:
    """A borrowed root, and the bundles that are unpacked on it."""

    def __init__(self, root: BorrowedRoot, port: int) -> None:
        self.root = root
        self.url = f"http://127.0.0.1:{port}"
        self.env = {"WA_GATEWAY_SERVER__PORT": str(port)}

    def install_sh(self, version: str, *words: str) -> tuple[int, str]:
        """The exit code of that version's install.sh, and what it said."""
        done = self.root.run(f"/mnt/in/{version}/install.sh", *words, env=self.env)
        return done.returncode, done.stdout + done.stderr

    def must(self, version: str, *words: str) -> str:
        code, said = self.install_sh(version, *words)
        assert code == 0, said
        return said

    def command(self, *words: str, typed: str | None = None) -> str:
        return self.root.ok("wa-gateway", *words, env=self.env, typed=typed)

    def tree(self) -> str:
        """Every file that an installation owns, with owner, mode and time."""
        where = ("/opt/wa-gateway", "/etc/wa-gateway", DATA, "/usr/local/bin/wa-gateway", UNIT)
        return self.root.ok("find", *where, "-not", "-path", where[0], "-printf", "%p %u:%g %m %T@ %l\n")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This version unpacked, a later one, one that does not start, and one that does so after migrating."""
    folder = tmp_path_factory.mktemp("unpacked")
    bundle = built().parent
    shutil.copytree(bundle, folder / __version__, symlinks=True)
    for version, before in ((LATER, ""), (BROKEN, DIES), (FAULTY, MIGRATES_AND_DIES)):
        made = folder / version
        # Links: the files are 80 MiB, and the same.
        shutil.copytree(bundle, made, symlinks=True, copy_function=os.link)
        (made / "wa-gateway").rename(made / "program")
        (made / "wa-gateway").write_text(RENUMBERED.format(version=version, before_serving=before))
        (made / "wa-gateway").chmod(0o755)
        unit = (made / "wa-gateway.service").read_text()
        (made / "wa-gateway.service").unlink()
        (made / "wa-gateway.service").write_text(f"{unit}# of {version}\n")
    return folder


@pytest.fixture
def machine(tmp_path: Path, bundles: Path) -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("only root can install a service")
    folder = tmp_path / "borrowed"
    folder.mkdir()
    try:
        root = BorrowedRoot(folder, bundles)
    except CannotBorrow as reason:
        pytest.skip(f"no root can be borrowed here: {reason}")
    with root:
        yield Machine(root, free_port())


@contextmanager
def started_by_hand(machine: Machine) -> Iterator[None]:
    """The installed gateway, started as install.sh says where systemd does not run."""
    as_gateway = ("setpriv", "--reuid", "wa-gateway", "--regid", "wa-gateway", "--init-groups", "--")
    process = machine.root.start(*as_gateway, "/usr/local/bin/wa-gateway", "serve", env=machine.env)
    try:
        until(
            "ready gateway",
            lambda: machine.root.run("wa-gateway", "healthcheck", env=machine.env).returncode == 0,
            60,
        )
        yield
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def send_one(machine: Machine) -> Account:
    """An account on the running gateway that has sent one message; its client."""
    made = machine.command(
        "user", "create", "--email", "a@example.test", "--password-stdin", typed="a long password\n"
    )
    account = Account(machine.url, made.strip())
    account.send(account.device(), "628123456789", "kept over the upgrade")
    return account


def test_install_again_upgrade_and_uninstall(machine: Machine) -> None:
    said = machine.must(__version__, "install")
    assert f"{__version__} is installed" in said
    assert f"{machine.url} is ready" in said
    assert f"{DATA}/setup-token" in said
    token = machine.root.ok("cat", f"{DATA}/setup-token").strip()
    assert token not in said, "the token was told to something that is no terminal"

    before = machine.tree()
    assert f"{DATA} wa-gateway:wa-gateway 700" in before
    assert "/etc/wa-gateway/config.toml root:wa-gateway 640" in before
    assert "nothing was changed" in machine.must(__version__, "install")
    assert machine.tree() == before
    settings = machine.root.ok("cat", "/etc/wa-gateway/config.toml")
    assert f'data_dir = "{DATA}"' in settings
    machine.root.ok("rm", "/etc/wa-gateway/config.toml")
    assert "nothing was changed" not in machine.must(__version__, "install")
    assert machine.root.ok("cat", "/etc/wa-gateway/config.toml") == settings
    assert machine.command("version") == f"wa-gateway {__version__}\n"

    refuses_what_cannot_be_used(machine)
    machine.root.ok("sh", "-c", "echo '# mine' >>/etc/wa-gateway/config.toml")
    assert f"{LATER} is installed; {__version__} is kept" in machine.must(LATER, "upgrade")
    assert machine.command("version") == f"wa-gateway {LATER}\n"
    assert "# mine" in machine.root.ok("cat", "/etc/wa-gateway/config.toml")
    code, said = machine.install_sh(__version__, "upgrade")
    assert code == 1
    assert "--allow-downgrade" in said
    assert "nothing was changed" in machine.must(LATER, "upgrade")

    assert "were kept" in machine.must(LATER, "uninstall")
    assert machine.root.run("ls", "/opt/wa-gateway").returncode != 0
    machine.root.ok("test", "-e", f"{DATA}/gateway.db")
    code, said = machine.install_sh(LATER, "uninstall", "--purge")
    assert (code, "say --yes" in said) == (1, True)
    machine.must(LATER, "uninstall", "--purge", "--yes")
    for gone in (DATA, "/etc/wa-gateway", "/usr/local/bin/wa-gateway"):
        assert machine.root.run("test", "-e", gone).returncode == 1
    assert machine.root.run("getent", "passwd", "wa-gateway").returncode == 2


def refuses_what_cannot_be_used(machine: Machine) -> None:
    """Settings that the later version does not know, and a second installation: nothing changes."""
    settings = "/etc/wa-gateway/config.toml"
    machine.root.ok("sh", "-c", f"cp -a {settings} /root/settings; echo 'prot = 1' >>{settings}")
    before = machine.tree()
    code, said = machine.install_sh(LATER, "upgrade")
    assert code == 1
    assert "prot" in said
    code, said = machine.install_sh(LATER, "install")
    assert code == 1
    assert f"version {__version__} is installed" in said
    assert machine.tree() == before
    machine.root.ok("mv", "/root/settings", settings)


def test_a_version_that_does_not_start_gives_its_place_back(machine: Machine) -> None:
    machine.must(__version__, "install")
    with started_by_hand(machine):
        account = send_one(machine)
        code, said = machine.install_sh(BROKEN, "upgrade")
        assert code == 1
        assert "a gateway runs on" in said

    for version, words in ((BROKEN, "the broken version speaks"), (FAULTY, "was set aside as")):
        code, said = machine.install_sh(version, "upgrade")
        assert code == 1
        assert words in said
        assert f"{__version__} is in its place again; {version} was removed" in said
        assert machine.command("version") == f"wa-gateway {__version__}\n"
        assert machine.root.run("test", "-e", f"/opt/wa-gateway/{version}").returncode == 1
    files = machine.root.ok("ls", DATA)
    assert f"gateway.db.from-{FAULTY}-" in files
    assert f"gateway.db.from-{BROKEN}-" not in files, "the broken version had not touched the data"
    assert machine.root.ok("ls", f"{DATA}/backups").count("-before-upgrade.db\n") >= 1

    with started_by_hand(machine):
        assert [m["text"] for m in account.every("/messages")] == ["kept over the upgrade"]
    account.http.close()


def test_an_upgrade_that_the_disk_does_not_take_leaves_the_old_version_at_work(machine: Machine) -> None:
    machine.must(__version__, "install")
    backups = f"{DATA}/backups"
    machine.root.ok("install", "-d", "-m700", "-owa-gateway", "-gwa-gateway", backups)
    machine.root.ok("mount", "-t", "tmpfs", "-o", "size=64k,mode=1777", "none", backups)
    code, said = machine.install_sh(LATER, "upgrade")
    assert code == 1
    assert "the database could not be copied" in said
    assert machine.root.ok("ls", "-A", backups) == "", "half a copy is no backup"
    machine.root.ok("umount", backups)

    # A folder stands where the new unit would be written.
    machine.root.ok("mkdir", f"{UNIT}.new")
    code, said = machine.install_sh(LATER, "upgrade")
    machine.root.ok("rmdir", f"{UNIT}.new")
    assert code == 1
    assert f"{LATER} could not be put in its place" in said
    assert f"{__version__} is in its place again; {LATER} was removed" in said
    machine.must(LATER, "upgrade")
    assert machine.root.ok("cat", UNIT).endswith(f"# of {LATER}\n")
