"""R8: a full or failing disk costs the requests of that time and nothing else; no success is ever false."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash import vfs
from crash.bad_disk import ECHO, PROGRAM, Books, Clients, Switch, faults, recovered, repeat_refused
from crash.fault_main import Badness
from hook import Hook, receiving
from patience import PATIENCE_S
from running import Account, Running, free_port, until

BAD_S = 1.0
MIB = 1024 * 1024
SETTINGS = {"limits.messages_per_minute": 0, "webhooks.allow": ["loopback"]}
FULL = Badness(write="full", room=200_000)
BROKEN, UNSYNCED, SLOW = Badness(write="broken"), Badness(sync=True), Badness(sync_s=2.0)


@pytest.fixture(autouse=True, scope="module")
def _watchable() -> None:
    try:
        vfs.linked_library()
    except LookupError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def hook() -> Iterator[Hook]:
    with receiving() as hook:
        yield hook


class Patient:
    """A gateway with a device and a webhook, whose disk is going to be bad."""

    def __init__(self, gateway: Running, hook: Hook) -> None:
        self.gateway = gateway
        self.hook = hook
        self.books = Books()
        self.account: Account = gateway.account()
        self.account.ok("POST", "/webhooks", {"url": hook.url})
        self.device_id = self.account.device()

    def clients(self) -> Clients:
        return Clients(self.account, self.device_id, self.books)

    def proven(self) -> None:
        """SIGKILL, a start on a good disk, a second try for what was refused; then compare the books."""
        if self.gateway.process.poll() is None:
            self.gateway.kill()
        self.gateway.program = (*PROGRAM[:1], "-m", "appliance")
        self.gateway.start()
        self.account.connected(self.device_id)
        refused = repeat_refused(self.account, self.device_id, self.books)
        print(f"{len(self.books.sends)} sends, {len(self.books.receives)} receives, {refused} refused")
        found: list[str] = []

        def agree() -> bool:
            found[:] = faults(self.account, self.books, self.hook)
            return not found

        with contextlib.suppress(AssertionError):
            until("agreement of the books", agree, 40)
        assert found == []


@pytest.fixture
def switch(tmp_path: Path) -> Switch:
    return Switch(tmp_path / "faults")


@pytest.fixture
def patient(tmp_path: Path, switch: Switch, hook: Hook) -> Iterator[Patient]:
    gateway = Running(tmp_path / "data", SETTINGS, switch.environment, PROGRAM).start()
    yield Patient(gateway, hook)
    gateway.close()
    gateway.stop()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("badness", "status"),
    [
        pytest.param(FULL, 507, id="full"),
        pytest.param(BROKEN, 503, id="write fails"),
        pytest.param(UNSYNCED, 503, id="fsync fails"),
    ],
)
def test_while_the_disk_refuses_changes_are_refused_and_afterwards_all_is_well(
    patient: Patient, switch: Switch, badness: Badness, status: int
) -> None:
    clients = patient.clients()
    until("answers", lambda: len(patient.books.sends) > 20)
    began = time.monotonic()
    with switch.bad(badness):
        time.sleep(BAD_S)
        assert patient.account.http.get("/messages").status_code in {200, 503}
        ended = time.monotonic()
    clients.stop()
    took_s = recovered(patient.gateway, patient.account, patient.device_id, "after")
    during = patient.books.between(began, ended)
    refused = [answer.status for answer in during if answer.message_id is None]
    print(f"{badness}: {len(refused)} of {len(during)} refused, recovered after {took_s:.2f} s")
    assert set(refused) == {status}
    patient.proven()


@pytest.mark.timeout(600)
def test_a_gateway_killed_while_its_disk_fails_has_told_no_lie(patient: Patient, switch: Switch) -> None:
    clients = patient.clients()
    until("answers", lambda: len(patient.books.sends) > 20)
    with switch.bad(UNSYNCED):
        until("refusals", lambda: sum(a.message_id is None for a in patient.books.sends) > 10)
        patient.gateway.kill()
        clients.stop()
    patient.proven()


@pytest.mark.timeout(600)
def test_a_disk_that_syncs_slowly_makes_answers_late_and_none_wrong(patient: Patient, switch: Switch) -> None:
    clients = patient.clients()
    until("answers", lambda: len(patient.books.sends) > 20)
    began = time.monotonic()
    with switch.bad(SLOW):
        until("slow answers", lambda: len(patient.books.between(began + 2.0, 1e12)) >= 2, 30)
    clients.stop()
    assert not [answer for answer in patient.books.sends if answer.message_id is None]
    patient.proven()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.timeout(600)
def test_a_truly_full_disk_refuses_sends_and_takes_them_again_once_there_is_room(
    small_disk: Path, hook: Hook
) -> None:
    gateway = Running(small_disk / "data", SETTINGS).start()
    try:
        patient = Patient(gateway, hook)
        clients = patient.clients()
        until("answers", lambda: len(patient.books.sends) > 20)
        began = time.monotonic()
        filler = small_disk / "filler"
        _fill(filler)
        until("refusals", lambda: _refusals(patient.books, began) > 10, 30)
        clients.stop()
        filler.unlink()
        took_s = recovered(gateway, patient.account, patient.device_id, "after")
        print(f"{_refusals(patient.books, began)} refused, recovered after {took_s:.2f} s")
        patient.proven()
    finally:
        gateway.close()
        gateway.stop()


def test_a_start_on_a_disk_that_is_nearly_full_refuses_sends_until_there_is_room(small_disk: Path) -> None:
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small_disk).free - 20 * MIB)
    gateway = Running(small_disk / "data", SETTINGS).start()
    try:
        account = gateway.account()
        device_id = account.device()
        body = {"deviceId": device_id, "to": ECHO, "text": "Is there room?"}
        account.refused(507, "storage_full", "POST", "/messages/send-text", body)
        account.ok("POST", f"/devices/{device_id}/sandbox/receive", {"text": "This comes in all the same"})
        filler.unlink()
        until("room", lambda: account.http.post("/messages/send-text", json=body).is_success, 30)
        assert gateway.stop() == 0
    finally:
        gateway.close()
        gateway.stop()


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_start_on_a_disk_that_is_full_to_the_last_byte_uses_the_reserve(
    small_disk: Path, tmp_path: Path, how: str
) -> None:
    """Its log would fill the same disk: it is elsewhere."""
    gateway = Running(small_disk / "data", SETTINGS)
    gateway.log = tmp_path / "log"
    gateway.start()
    try:
        account = gateway.account()
        device_id = account.device()
        if how == "killed":
            gateway.kill()
        else:
            assert gateway.stop() == 0
        _fill(small_disk / "filler")
        gateway.start()
        assert '"disk_full"' in gateway.logged()
        body = {"deviceId": device_id, "to": ECHO, "text": "Is there room?"}
        account.refused(507, "storage_full", "POST", "/messages/send-text", body)
        (small_disk / "filler").unlink()
        until("room", lambda: account.http.post("/messages/send-text", json=body).is_success, 30)
        assert gateway.stop() == 0
    finally:
        gateway.close()
        gateway.stop()


def test_a_start_without_any_room_is_refused_in_a_sentence(small_disk: Path) -> None:
    data = small_disk / "data"
    data.mkdir()
    _fill(small_disk / "filler")
    for command in (["serve", f"--set=server.port={free_port()}"], ["user", "list"]):
        ended = subprocess.run(
            [*PROGRAM[:1], "-m", "appliance", *command, f"--data-dir={data}"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert ended.returncode != 0
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert "Make room on the disk" in ended.stderr


def _refusals(books: Books, since: float) -> int:
    return sum(answer.status == 507 for answer in books.between(since, 1e12))


def _fill(path: Path) -> None:
    """Write until there is no room for one byte more."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
