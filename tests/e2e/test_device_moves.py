"""`export` and `import`: a linked device moves to another gateway on the loopback network, and home again."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback.patch import can_patch
from loopback.server import LoopbackServer
from road import link_by_qr
from running import PROGRAM, Account, Running, until

from appliance.scratch import PREFIX

OURS, THEIRS = "628111000111", "628222000222"
LIMIT_S = 90

pytestmark = pytest.mark.skipif(
    not can_patch(), reason="leading a program to the loopback network needs root"
)


@pytest.fixture
def net(tmp_path: Path) -> Iterator[LoopbackServer]:
    with LoopbackServer(tmp_path / "net") as network:
        network.add_account(OURS, "Ours")
        network.add_account(THEIRS, "Theirs")
        yield network


@pytest.fixture
def phrase(tmp_path: Path) -> Path:
    file = tmp_path / "phrase"
    file.write_text("correct horse battery")
    return file


def gateway_on(net: LoopbackServer, start: Callable[..., Running]) -> Running:
    return start(settings={"engine.proxy": net.proxy_url}, environment=net.client_env())


def cli(gateway: Running, phrase: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *map(str, arguments), f"--data-dir={gateway.data}", f"--passphrase-file={phrase}"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def done(gateway: Running, phrase: Path, *arguments: object) -> str:
    ran = cli(gateway, phrase, *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def refused(gateway: Running, phrase: Path, *arguments: object) -> str:
    ran = cli(gateway, phrase, *arguments)
    assert ran.returncode == 1, ran.stdout
    assert "Traceback" not in ran.stderr
    return ran.stderr


def goes_both_ways(net: LoopbackServer, account: Account, device_id: str, word: str) -> None:
    account.connected(device_id)
    assert account.send(device_id, THEIRS, f"{word} out")["status"] in {"sent", "delivered"}
    net.on_phone(THEIRS, lambda phone: phone.wait_for(f"{word} out"))
    net.on_phone(THEIRS, lambda phone: phone.send_text(OURS, f"{word} in"))

    def arrived() -> Any:
        items = account.ok("GET", "/messages", params={"deviceId": device_id})["items"]
        return any(each["text"] == f"{word} in" for each in items)

    until(f"{word} in", arrived)


def is_moved(account: Account, device_id: str) -> None:
    device = account.ok("GET", f"/devices/{device_id}")
    assert (device["status"], device["reason"], device["linked"]) == ("DISCONNECTED", "moved", True)
    account.refused(409, "device_moved", "POST", f"/devices/{device_id}/connect")
    account.refused(409, "device_moved", "POST", f"/devices/{device_id}/logout")
    body = {"deviceId": device_id, "to": THEIRS, "text": "no"}
    account.refused(409, "device_moved", "POST", "/messages/send-text", body)
    assert account.ok("POST", f"/devices/{device_id}/disconnect")["reason"] == "moved"


def test_a_device_moves_and_comes_home(
    net: LoopbackServer, start: Callable[..., Running], phrase: Path, tmp_path: Path
) -> None:
    first = gateway_on(net, start)
    account = first.account()
    device_id = link_by_qr(net, account, OURS)
    file = tmp_path / "device.wa"

    done(first, phrase, "export", device_id, file)
    assert file.stat().st_mode & 0o777 == 0o600
    is_moved(account, device_id)

    second = gateway_on(net, start)
    other = second.account()
    wrong = tmp_path / "wrong"
    wrong.write_text("not the passphrase")
    assert "passphrase" in refused(second, wrong, "import", file)
    assert not other.ok("GET", "/devices")["items"]
    assert "connecting" in done(second, phrase, "import", file)
    goes_both_ways(net, other, device_id, "moved")
    assert other.ok("GET", f"/devices/{device_id}")["phone"] == OURS
    is_moved(account, device_id)

    home = tmp_path / "home.wa"
    assert second.stop() == 0
    done(second, phrase, "export", device_id, home)
    done(first, phrase, "import", home)
    goes_both_ways(net, account, device_id, "home")
    second.start()
    is_moved(other, device_id)
    assert "imported here before" in refused(second, phrase, "import", file)
    assert not list(second.data.glob(f"{PREFIX}*"))


def test_a_file_that_cannot_be_made_leaves_the_device_here(
    net: LoopbackServer, start: Callable[..., Running], phrase: Path, tmp_path: Path
) -> None:
    gateway = gateway_on(net, start)
    account = gateway.account()
    device_id = link_by_qr(net, account, OURS)
    assert "No such file" in refused(gateway, phrase, "export", device_id, tmp_path / "no" / "file.wa")
    account.connected(device_id)
    # A folder stands where the session would be copied to.
    obstacle = gateway.data / "devices" / device_id / "session.moved.new"
    obstacle.mkdir()
    assert "its log says why" in refused(gateway, phrase, "export", device_id, tmp_path / "none.wa")
    obstacle.rmdir()
    assert not list(tmp_path.glob("none.wa*"))
    goes_both_ways(net, account, device_id, "stayed")
    sandbox = account.device()
    assert "linked" in refused(gateway, phrase, "export", sandbox, tmp_path / "sandbox.wa")
    assert not (tmp_path / "sandbox.wa").exists()
    assert "was not moved" in refused(gateway, phrase, "export", device_id, "--take-back")
    done(gateway, phrase, "export", device_id, tmp_path / "file.wa")
    done(gateway, phrase, "export", device_id, "--take-back")
    goes_both_ways(net, account, device_id, "taken back")
    done(gateway, phrase, "export", device_id, tmp_path / "again.wa")
    assert account.ok("DELETE", f"/devices/{device_id}") == {"unlinked": False}
    assert net.accounts[OURS].companions
