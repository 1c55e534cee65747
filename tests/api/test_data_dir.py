"""The data directory: nobody else can read it, and no second gateway may have it."""

import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from running import PROGRAM, Running


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
        timeout=30,
    )
    assert second.returncode == 2
    assert f"in use by another gateway (process {gateway.process.pid})" in second.stderr


def test_a_taken_port_is_refused_in_a_sentence(start: Callable[..., Running], tmp_path: Path) -> None:
    gateway = start()
    second = subprocess.run(
        [*PROGRAM, "serve", f"--data-dir={tmp_path / 'other'}", f"--set=server.port={gateway.port}"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert second.returncode == 2
    assert str(gateway.port) in second.stderr
