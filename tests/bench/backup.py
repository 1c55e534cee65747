"""R12's figures: how long a backup and a restore take, the memory they need, and what callers notice.

python tests/bench/backup.py [messages] [MiB of received files]
"""

import contextlib
import os
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.filled import fill
from running import Account, Running

from appliance.gateway.media_shelf import place_of
from appliance.model.ids import new_id

SETTINGS = {"limits.messages_per_minute": 0}
FILE_BYTES = 400_000
CALLS = 60
MIB = 1024 * 1024


class Commands:
    """Commands on the gateway's data and what they took."""

    def __init__(self, folder: Path) -> None:
        self._phrase = folder / "phrase"
        self._phrase.write_text("correct horse battery staple")

    def begin(self, command: str, file: Path, data: Path, *more: str) -> subprocess.Popen[bytes]:
        where = ["--data-dir", str(data), "--passphrase-file", str(self._phrase)]
        line = [sys.executable, "-m", "appliance", command, str(file), *where, *more]
        return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def time(self, command: str, file: Path, data: Path, *more: str) -> None:
        began = time.perf_counter()
        process = self.begin(command, file, data, *more)
        tell(" ".join([command, *more]), process, began)


def tell(what: str, process: subprocess.Popen[bytes], began: float) -> None:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, what
    took_s = time.perf_counter() - began
    print(f"{what}: {took_s:.1f} s, processor {usage.ru_utime + usage.ru_stime:.1f} s, ", end="")
    print(f"at most {usage.ru_maxrss / 1024:.0f} MiB of memory", flush=True)


def add_files(data: Path, account_id: str, device_id: str, size: int) -> None:
    """Received files, as their rows and their bytes."""
    with contextlib.closing(sqlite3.connect(data / "gateway.db")) as connection:
        for _ in range(size // FILE_BYTES):
            media_id = new_id()
            path = data / "media" / place_of(device_id, media_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(secrets.token_bytes(FILE_BYTES))
            row = (media_id, account_id, device_id, "image", "image/jpeg", FILE_BYTES, "stored", 1)
            connection.execute(
                "INSERT INTO media (id, account_id, device_id, kind, mimetype, size, state, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
        connection.execute("UPDATE media SET created_at = unixepoch() * 1000")
        connection.commit()


def sends_ms(account: Account, device_id: str, until_ended: subprocess.Popen[bytes] | None) -> list[float]:
    """How long sends take, one after the other: for as long as the process lives, or CALLS of them."""
    took: list[float] = []
    while (until_ended.poll() is None) if until_ended else len(took) < CALLS:
        began = time.perf_counter()
        account.send(device_id, "999000000001")
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(0.02)
    return took


def line(what: str, took: list[float]) -> str:
    p99 = statistics.quantiles(took, n=100)[98]
    return f"{what}: {len(took)} sends, p50 {statistics.median(took):.1f} ms, p99 {p99:.1f} ms"


def main(messages: int, files_mib: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-backup-") as name:
        folder = Path(name)
        commands = Commands(folder)
        gateway = Running(folder / "data", settings=SETTINGS).start()
        account = gateway.account()
        device_id = account.device()
        hook = account.ok(
            "POST", "/webhooks", {"url": "https://receiver.example.test/", "events": ["device.status"]}
        )["id"]
        account_id = account.ok("GET", "/auth/me")["id"]
        assert gateway.stop() == 0
        fill(gateway.data / "gateway.db", [(device_id, hook)], int(time.time() * 1000), messages)
        add_files(gateway.data, account_id, device_id, files_mib * MIB)
        database_mib = (gateway.data / "gateway.db").stat().st_size / MIB
        print(f"database {database_mib:.0f} MiB, received files {files_mib} MiB", flush=True)
        gateway.start()
        quiet = sends_ms(account, device_id, None)
        began = time.perf_counter()
        process = commands.begin("backup", folder / "backup", gateway.data)
        during = sends_ms(account, device_id, process)
        print(f"backup of the running gateway: {time.perf_counter() - began:.1f} s", flush=True)
        print(line("before", quiet), "·", line("during", during), flush=True)
        account.http.close()
        assert gateway.stop() == 0
        commands.time("backup", folder / "again", gateway.data)
        print(f"the file: {(folder / 'again').stat().st_size / MIB:.0f} MiB", flush=True)
        commands.time("restore", folder / "again", folder / "new", "--rehearse")
        commands.time("restore", folder / "again", folder / "new")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*(given + [100_000, 100][len(given) :]))
