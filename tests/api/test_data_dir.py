"""The data directory: nobody else can read it, and no second gateway may have it."""

import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import PATIENCE_S
from running import PROGRAM, Running, free_port


def test_everything_in_it_is_for_its_owner_alone(start: Callable[..., Running]) -> None:
    gateway = start()
    account = gateway.account()
    device_id = account.device()
    account.ok("POST", f"/devices/{device_id}/sandbox/receive", {"kind": "image"})
    files = list(gateway.data.rglob("*"))
    assert {"gateway.db", "secret.key", "control.sock"} <= {file.name for file in files}
    open_to_others = [f.name for f in files if stat.S_IMODE(f.stat().st_mode) & 0o077]
    assert not open_to_others


def test_a_second_gateway_is_refused_in_a_sentence(start: Callable[..., Running], tmp_path: Path) -> None:
    gateway = start()
    second = subprocess.run(
        [*PROGRAM, "serve", f"--data-dir={gateway.data}", "--set=server.port=1"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert second.returncode == 2
    assert f"in use by another gateway (process {gateway.process.pid})" in second.stderr


def test_a_taken_port_is_refused_in_a_sentence(start: Callable[..., Running], tmp_path: Path) -> None:
    gateway = start()
    second = subprocess.run(
        [*PROGRAM, "serve", f"--data-dir={tmp_path / 'other'}", f"--set=server.port={gateway.port}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert second.returncode == 2
    assert str(gateway.port) in second.stderr


def test_a_key_file_that_is_gone_is_not_replaced_by_another(start: Callable[..., Running]) -> None:
    """The next start would seal with a key that opens nothing of what is there."""
    gateway = start()
    gateway.account()
    assert gateway.stop() == 0
    key = gateway.data / "secret.key"
    kept = key.read_bytes()
    key.unlink()
    for command in (["serve", f"--set=server.port={gateway.port}"], ["user", "list"]):
        refused = subprocess.run(
            [*PROGRAM, *command, f"--data-dir={gateway.data}"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert refused.returncode in {1, 2}
        assert f"{key} is missing" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert not key.exists()
    key.write_bytes(kept)
    gateway.start()


def test_a_first_start_that_was_killed_early_makes_its_key_at_the_next(start: Callable[..., Running]) -> None:
    gateway = start()
    gateway.kill()
    (gateway.data / "secret.key").unlink()
    gateway.start()
    assert (gateway.data / "secret.key").exists()


def test_a_key_file_that_cannot_be_read_is_told_in_a_sentence(start: Callable[..., Running]) -> None:
    gateway = start()
    assert gateway.stop() == 0
    key = gateway.data / "secret.key"
    key.unlink()
    key.mkdir()
    command = [*PROGRAM, "serve", f"--data-dir={gateway.data}", f"--set=server.port={gateway.port}"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert refused.returncode == 2
    assert refused.stderr.endswith(f"wa-gateway: {key}: Is a directory.\n")
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("name", ["secret.key.new", "setup-token.new", "control.sock"])
def test_what_the_disk_refuses_during_the_start_is_told_in_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    command = [*PROGRAM, "serve", f"--data-dir={tmp_path}", f"--set=server.port={free_port()}"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert refused.returncode == 2
    assert refused.stderr.endswith(f"wa-gateway: cannot start: {tmp_path / name}: Is a directory.\n")
    assert "Traceback" not in refused.stderr


def test_what_the_disk_refuses_a_command_without_a_gateway_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "secret.key.new").mkdir()
    command = [*PROGRAM, "user", "list", f"--data-dir={tmp_path}"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert refused.returncode == 1
    assert refused.stderr == f"wa-gateway: {tmp_path / 'secret.key.new'}: Is a directory.\n"
