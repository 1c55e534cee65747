"""What systemd is told while the start takes long."""

import socket
from pathlib import Path

import pytest
from patience import PATIENCE_S

from appliance import systemd


def test_more_time_is_asked_for_again_and_again_until_the_work_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with systemd.taking_long(every_s=0.01):
            asked = [told.recv(1000).decode().splitlines() for _ in range(3)]
        assert asked == [["EXTEND_TIMEOUT_USEC=60000000", "STATUS=Preparing the database"]] * 3
        systemd.notify("READY=1")
        while told.recv(1000) != b"READY=1":
            pass
        told.settimeout(0.1)
        with pytest.raises(TimeoutError):
            told.recv(1000)


def test_without_systemd_nobody_is_told() -> None:
    with systemd.taking_long(every_s=0.001):
        systemd.notify("READY=1")
