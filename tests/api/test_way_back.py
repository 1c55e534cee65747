"""What the page about reliability tells an owner to do by hand: go back to a backup, move elsewhere."""

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
from running import Account, Running

from appliance.gateway.clock import SystemClock
from appliance.store import backup

MOVED = ("gateway.db", "gateway.db-wal", "gateway.db-shm")


def test_moving_the_database_away_brings_the_newest_backup(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    gateway = start()
    account = gateway.account()
    device = account.device()
    kept = account.send(device, "628111222333", "before the backup")
    account.message(kept["id"], "read")
    backup.make(gateway.data / "gateway.db", SystemClock().now_ms())
    account.send(device, "628111222333", "after the backup")
    gateway.stop()
    for name in MOVED:
        if (gateway.data / name).exists():
            (gateway.data / name).rename(tmp_path / name)
    gateway.start()
    account.connected(device)
    assert [message["id"] for message in account.ok("GET", "/messages")["items"]] == [kept["id"]]
    assert httpx.get(f"{gateway.url}/healthz").json()["store"]["recovery"]["road"] == "restored"


def test_a_copied_data_directory_goes_on_elsewhere(start: Callable[..., Running], tmp_path: Path) -> None:
    gateway = start()
    account = gateway.account()
    device = account.device()
    account.send(device, "628111222333")
    gateway.stop()
    shutil.copytree(gateway.data, tmp_path / "data1")
    elsewhere = Account(start().url, account.key)
    elsewhere.connected(device)
    assert len(elsewhere.ok("GET", "/messages")["items"]) == 1
    assert elsewhere.send(device, "628111222333")["status"] == "sent"
    elsewhere.http.close()
