"""`backup` and `restore` beside a real gateway with a sandbox device: what comes back, and every refusal."""

import contextlib
import hashlib
import io
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from commands import begun, done, ended, refused
from running import Account, Running, running, until

from appliance import cli, data_dir, exchange
from appliance.operations.archive import ArchiveWriter
from appliance.operations.sealed_file import SealedWriter
from appliance.scratch import PREFIX

PHRASE = "correct horse battery staple"
SETTINGS = {"limits.messages_per_minute": 0}
PERSON = "628111222333"


class Shop(msgspec.Struct):
    """A gateway with something in it, and a backup made while it ran."""

    folder: Path
    key: str
    device_id: str
    waiting_id: str
    image_id: str
    image: bytes
    rows: dict[str, list[Any]]

    @property
    def newest_event(self) -> int:
        return int(self.rows["events"][-1][0])

    @property
    def file(self) -> Path:
        return self.folder / "backup"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def phrase(self) -> Path:
        return self.folder / "phrase"


def rows_of(database: Path) -> dict[str, list[Any]]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return {
            table: connection.execute(f"SELECT * FROM {table}").fetchall()
            for table in ("accounts", "devices", "messages", "media", "events", "endpoints")
        }


def image_of(account: Account, message_id: str) -> bytes:
    answer = account.http.get(f"/messages/{message_id}/media")
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "phrase").write_text(f" {PHRASE}\n")
    gateway = Running(folder / "data", settings=SETTINGS).start()
    account = gateway.account()
    device_id = account.device()
    for n in range(3):
        account.send(device_id, PERSON, f"a text that must not be readable {n}")
    received = {"kind": "image", "from": PERSON}
    image_id = account.ok("POST", f"/devices/{device_id}/sandbox/receive", received)["id"]
    until("the image", lambda: account.http.get(f"/messages/{image_id}/media").status_code == 200)
    account.ok("POST", f"/devices/{device_id}/sandbox/state", {"status": "RECONNECTING"})
    body = {"deviceId": device_id, "to": PERSON, "text": "it waits"}
    waiting_id = account.ok("POST", "/messages/send-text", body, headers={"Prefer": "respond-async"})["id"]
    said = done(
        "backup", folder / "backup", "--data-dir", gateway.data, "--passphrase-file", folder / "phrase"
    )
    assert "checked. Devices: 1, files: 1." in said
    image = image_of(account, image_id)
    account.ok("POST", f"/devices/{device_id}/sandbox/state", {"status": "CONNECTED"})
    account.message(waiting_id, "sent")
    gateway.close()
    assert gateway.stop() == 0
    rows = rows_of(gateway.data / "gateway.db")
    return Shop(folder, account.key, device_id, waiting_id, image_id, image, rows)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Commands in this process, for what is refused before anything begins."""
    mask = os.umask(0o077)

    def command(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    yield command
    os.umask(mask)


def contents(folder: Path) -> dict[str, str]:
    """Every file below, by what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != data_dir.LOCK
    }


def test_what_is_restored_elsewhere_is_what_was_there(shop: Shop, tmp_path: Path) -> None:
    said = done("restore", shop.file, "--data-dir", tmp_path / "data", "--passphrase-file", shop.phrase)
    assert "devices: 1, received files: 1" in said
    assert "runs no more" in said
    restored = rows_of(tmp_path / "data" / "gateway.db")
    for table in ("accounts", "media", "endpoints", "devices"):
        assert [row[:3] for row in restored[table]] == [row[:3] for row in shop.rows[table]], table
    events = len(restored["events"])
    assert 0 < events < len(shop.rows["events"])
    assert restored["events"] == shop.rows["events"][:events]
    assert texts(restored, but=shop.waiting_id) == texts(shop.rows, but=shop.waiting_id)
    assert "sending" in next(row for row in restored["messages"] if row[1] == shop.waiting_id)
    gateway = Running(tmp_path / "data", settings=SETTINGS).start()
    try:
        goes_on(Account(gateway.url, shop.key), shop)
        told = {row[0] for row in rows_of(gateway.data / "gateway.db")["events"][events:]}
        assert told
        assert min(told) > shop.newest_event + 1_000_000, "no number is given twice"
    finally:
        gateway.stop()


def texts(rows: dict[str, list[Any]], but: str) -> list[Any]:
    """The messages; what stands behind a message's content moves on with its receipts."""
    return [row[:15] for row in rows["messages"] if row[1] != but]


def goes_on(account: Account, shop: Shop) -> None:
    """The same key, the same device, the same file; no number twice; what had waited is not sent again."""
    account.connected(shop.device_id)
    assert image_of(account, shop.image_id) == shop.image
    account.message(shop.waiting_id, "unconfirmed")
    assert account.send(shop.device_id, PERSON, "again")["status"] == "sent"
    assert account.ok("GET", f"/messages/{shop.waiting_id}")["status"] == "unconfirmed"
    answer = account.http.get(f"/events?after={shop.newest_event}", headers={"Accept": "application/json"})
    assert answer.status_code == 410, "whoever followed the other life is told that something is missing"
    account.http.close()


def test_the_file_is_private_and_says_nothing(shop: Shop) -> None:
    assert shop.file.stat().st_mode & 0o777 == 0o600
    sealed = shop.file.read_bytes()
    for secret in (b"must not be readable", b"SQLite format", b"gateway.db", shop.device_id.encode()):
        assert secret not in sealed
    assert (shop.data / "secret.key").read_bytes() not in sealed
    assert not (shop.data / "backup-draft").exists()
    assert {path.name for path in shop.folder.iterdir()} == {"backup", "data", "data.log", "phrase"}


def test_the_state_of_before_is_set_aside_whole(shop: Shop, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as gateway:
        key = gateway.account().key
    (data / "config.toml").write_text("")
    before = contents(data)
    said = done("restore", shop.file, "--data-dir", data, "--passphrase-file", shop.phrase)
    [aside] = data.glob("before-restore-*")
    assert str(aside) in said
    kept = {name: digest for name, digest in before.items() if name not in {"ballast", "config.toml"}}
    assert contents(aside) == kept
    assert (data / "config.toml").exists()
    with running(data) as gateway:
        assert httpx.get(f"{gateway.url}/devices", headers={"X-API-Key": key}).status_code == 401
        assert httpx.get(f"{gateway.url}/devices", headers={"X-API-Key": shop.key}).status_code == 200


def damaged(shop: Shop, folder: Path, how: str) -> Path:
    """The backup with something wrong with it."""
    whole = shop.file.read_bytes()
    broken = {
        "one byte changed": whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:],
        "cut short": whole[:-100],
        "another file": b"SQLite format 3\0" + whole,
    }
    (folder / "broken").write_bytes(broken[how])
    return folder / "broken"


@pytest.mark.parametrize(
    ("how", "why"),
    [("one byte changed", "damaged"), ("cut short", "damaged"), ("another file", "no backup of WA Gateway")],
)
@pytest.mark.parametrize("rehearse", [True, False])
def test_a_damaged_backup_changes_nothing(
    shop: Shop, tmp_path: Path, run: Callable[..., Any], how: str, why: str, rehearse: bool
) -> None:
    file, before = damaged(shop, tmp_path, how), contents(shop.data)
    more = ["--rehearse"] if rehearse else []
    code, out, err = run("restore", file, "--data-dir", shop.data, "--passphrase-file", shop.phrase, *more)
    assert (code, out) == (1, "")
    assert why in err.splitlines()[-1]
    assert contents(shop.data) == before
    assert not list(shop.data.glob("*restore*"))


def test_a_wrong_passphrase_changes_nothing_and_makes_no_directory(
    shop: Shop, tmp_path: Path, run: Callable[..., Any]
) -> None:
    (tmp_path / "phrase").write_text("another passphrase")
    code, out, err = run(
        "restore", shop.file, "--data-dir", tmp_path / "new", "--passphrase-file", tmp_path / "phrase"
    )
    assert (code, out) == (1, "")
    assert "the passphrase is not the one" in err
    assert not (tmp_path / "new").exists()
    file = damaged(shop, tmp_path, "cut short")
    assert run("restore", file, "--data-dir", tmp_path / "new", "--passphrase-file", shop.phrase)[0] == 1
    assert not (tmp_path / "new").exists()


def test_a_backup_of_a_later_version_is_refused_with_the_version_that_can_read_it(
    shop: Shop, tmp_path: Path, run: Callable[..., Any]
) -> None:
    later = tmp_path / "later"
    later.mkdir()
    (later / "secret.key").write_bytes((shop.data / "secret.key").read_bytes())
    (later / "gateway.db").write_bytes((shop.data / "gateway.db").read_bytes())
    with contextlib.closing(sqlite3.connect(later / "gateway.db")) as connection:
        connection.execute("INSERT INTO schema_history VALUES (9000, '9.0.0', 1)")
        connection.commit()
        connection.execute("PRAGMA user_version = 9000")
    file = tmp_path / "from-later"
    assert done("backup", file, "--data-dir", later, "--passphrase-file", shop.phrase)
    before = contents(shop.data)
    code, _, err = run("restore", file, "--data-dir", shop.data, "--passphrase-file", shop.phrase)
    assert code == 1
    assert "9.0.0" in err
    assert contents(shop.data) == before


def test_a_rehearsal_touches_nothing_and_a_running_gateway_is_not_replaced(
    shop: Shop, tmp_path: Path, run: Callable[..., Any]
) -> None:
    with running(tmp_path / "data") as gateway:
        options = (shop.file, "--data-dir", gateway.data, "--passphrase-file", shop.phrase)
        names = sorted(path.name for path in gateway.data.iterdir())
        code, out, _ = run("restore", *options, "--rehearse")
        assert code == 0
        assert "The backup is whole" in out
        code, out, err = run("restore", *options)
        assert (code, out) == (1, "")
        assert "in use" in err
        assert err.endswith("Stop it first.\n")
        assert sorted(path.name for path in gateway.data.iterdir()) == names
    code, _, _ = run(
        "restore", shop.file, "--data-dir", tmp_path / "no", "--passphrase-file", shop.phrase, "--rehearse"
    )
    assert code == 0
    assert not (tmp_path / "no").exists()


def test_nothing_is_overwritten_and_a_passphrase_is_needed(
    shop: Shop, tmp_path: Path, run: Callable[..., Any]
) -> None:
    made = contents(shop.folder)
    options = ("--data-dir", shop.data, "--passphrase-file")
    assert "is there already" in refused("backup", shop.file, *options, shop.phrase)
    (tmp_path / "short").write_text("short\n")
    assert "fewer than 8" in refused("backup", tmp_path / "b", *options, tmp_path / "short")
    assert "no terminal" in refused("backup", tmp_path / "b", "--data-dir", shop.data)
    assert "there is no gateway" in refused(
        "backup", tmp_path / "b", "--data-dir", tmp_path, "--passphrase-file", shop.phrase
    )
    assert contents(shop.folder) == made
    assert not (tmp_path / "b").exists()


def test_while_somebody_else_holds_the_directory_no_backup_is_made(shop: Shop, tmp_path: Path) -> None:
    mask = os.umask(0o077)
    with data_dir.lock(shop.data):
        why = refused("backup", tmp_path / "b", "--data-dir", shop.data, "--passphrase-file", shop.phrase)
    os.umask(mask)
    assert "try again" in why
    assert list(tmp_path.iterdir()) == []


def test_received_files_that_are_gone_are_counted_and_the_configuration_is_kept(
    shop: Shop, tmp_path: Path
) -> None:
    data, config = tmp_path / "data", tmp_path / "config.toml"
    config.write_text(f"data_dir = {str(data)!r}\n[backup]\npassphrase_file = {str(shop.phrase)!r}\n")
    done("restore", shop.file, "--config", config)
    for file in (data / "media").rglob("c*"):
        if file.is_file():
            file.unlink()
    said = done("backup", tmp_path / "again", "--config", config)
    assert "Devices: 1, files: 0." in said
    assert "1 received files are not in it" in said
    done("restore", tmp_path / "again", "--config", config)
    assert (data / "config.from-backup.toml").read_text() == config.read_text()


def test_what_a_killed_backup_left_is_cleared_by_the_next(shop: Shop, tmp_path: Path) -> None:
    options = (tmp_path / "b", "--data-dir", shop.data, "--passphrase-file", shop.phrase)
    killed = begun("backup", *options)
    until("drafts", lambda: list((shop.data / "backup-draft").glob("*")))
    killed.kill()
    ended(killed)
    assert not (tmp_path / "b").exists()
    done("backup", *options)
    assert not (shop.data / "backup-draft").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_what_a_killed_rehearsal_left_is_cleared_by_the_next(shop: Shop) -> None:
    left = shop.data / f"{PREFIX}left"
    left.mkdir()
    (left / "gateway.db").touch()
    done("restore", "--rehearse", shop.file, "--data-dir", shop.data, "--passphrase-file", shop.phrase)
    assert not list(shop.data.glob(f"{PREFIX}*"))


def test_a_restore_that_is_killed_leaves_the_old_state_or_the_new_one(shop: Shop, tmp_path: Path) -> None:
    options = ("--data-dir", tmp_path / "data", "--passphrase-file", shop.phrase)
    done("restore", shop.file, *options)
    before = contents(tmp_path / "data")
    killed = begun("restore", shop.file, *options)
    until("draft", lambda: (tmp_path / "data" / exchange.DRAFT / "gateway.db").exists())
    killed.kill()
    ended(killed)
    found = contents(tmp_path / "data")
    old = {name: digest for name, digest in found.items() if not name.startswith(exchange.DRAFT)}
    if not list((tmp_path / "data").glob("*restore-*")):
        assert old == before
    done("restore", shop.file, *options)
    assert not (tmp_path / "data" / exchange.DRAFT).exists()
    [aside] = (tmp_path / "data").glob("before-restore-*")
    assert contents(aside) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_restores_and_backs_up_for_the_gateways_own_user(shop: Shop, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    os.chown(data, 12345, 12346)
    options = ("--data-dir", data, "--passphrase-file", shop.phrase)
    for _ in range(2):
        done("restore", shop.file, *options)
    done("backup", tmp_path / "again", *options)
    found = [data, *data.rglob("*")]
    assert len(found) > 10
    assert {(path.stat().st_uid, path.stat().st_gid) for path in found} == {(12345, 12346)}


def test_a_refused_restore_leaves_the_directory_to_its_user(shop: Shop, tmp_path: Path) -> None:
    """The lock is made when the backup has turned out to be damaged only at its end."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    os.chown(data, 12345, 12346)
    file = damaged(shop, tmp_path, "cut short")
    refused("restore", file, "--data-dir", data, "--passphrase-file", shop.phrase)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in data.rglob("*")} == {(12345, 12346)}


def test_what_lies_beside_a_directory_that_is_not_there_yet_does_not_matter(
    shop: Shop, tmp_path: Path
) -> None:
    """A disk of its own for media, say, which nobody is going to set aside."""
    beside = tmp_path / "media"
    beside.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", str(beside)], check=False).returncode != 0:
        pytest.skip("a file system can be mounted by root only")
    try:
        options = ("--data-dir", tmp_path / "new", "--passphrase-file", shop.phrase)
        assert "The backup is whole" in done("restore", shop.file, *options, "--rehearse")
        assert "mount of its own" in refused(
            "restore", shop.file, "--data-dir", tmp_path, "--passphrase-file", shop.phrase, "--rehearse"
        )
    finally:
        subprocess.run(["umount", str(beside)], check=True)


def test_a_directory_that_cannot_be_locked_is_not_said_to_be_busy(shop: Shop, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / data_dir.LOCK).mkdir(parents=True)
    (data / "gateway.db").touch()
    told = refused("backup", tmp_path / "b", "--data-dir", data, "--passphrase-file", shop.phrase)
    assert "Is a directory" in told
    assert "try again" not in told


def sealed_with(tmp_path: Path, name: str) -> Path:
    """A file sealed as a backup is, whose archive holds that and nothing else."""
    file = tmp_path / "sealed"
    with file.open("wb") as out:
        sealed = SealedWriter(out, PHRASE)
        archive = ArchiveWriter(sealed, io.BytesIO())
        if name:
            archive.add(name, io.BytesIO(b"no note"), 7, lambda _: None)
        archive.finish()
        sealed.finish()
    return file


@pytest.mark.parametrize(
    ("command", "name", "said"),
    [
        ("restore", "device.json", "this is no backup; what `wa-gateway export` made is taken in by"),
        ("restore", "note.json", "damaged"),
        ("restore", "", "damaged"),
        ("import", "device.json", "damaged"),
        ("import", "note.json", "something else"),
        ("import", "", "damaged"),
    ],
)
def test_what_is_sealed_and_something_else_is_refused(
    shop: Shop, tmp_path: Path, command: str, name: str, said: str
) -> None:
    file = sealed_with(tmp_path, name)
    told = refused(command, file, "--data-dir", shop.data, "--passphrase-file", shop.phrase)
    assert said in told


def test_a_file_that_does_not_say_whose_session_it_is_is_refused(shop: Shop, tmp_path: Path) -> None:
    session = tmp_path / "session.db"
    with contextlib.closing(sqlite3.connect(session)) as connection:
        connection.execute("CREATE TABLE keys (id)")
    note = {"exportId": "e1", "version": "0.1.0", "engine": "0.0.1", "identity": {"id": shop.device_id}}
    with (tmp_path / "sealed").open("wb") as out:
        sealed = SealedWriter(out, PHRASE)
        archive = ArchiveWriter(sealed, io.BytesIO())
        for name, content in (
            ("device.json", msgspec.json.encode(note)),
            ("session.db", session.read_bytes()),
        ):
            archive.add(name, io.BytesIO(content), len(content), lambda _: None)
        archive.finish()
        sealed.finish()
    options = ("--data-dir", shop.data, "--passphrase-file", shop.phrase)
    assert "does not say which device it is" in refused("import", tmp_path / "sealed", *options)


def typed(answers: list[str], *arguments: Any) -> tuple[int, str]:
    """The command at a terminal where each question gets the next answer: its exit code, what was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "appliance", *map(str, arguments)])
    shown = ""
    waiting = list(answers)
    with contextlib.suppress(OSError), os.fdopen(terminal, "r+b", buffering=0) as end:
        while part := end.read(4096):
            shown += part.decode()
            if waiting and shown.rstrip(" ").endswith(":"):
                end.write(waiting.pop(0).encode() + b"\n")
                shown += "\n"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def test_at_a_terminal_the_passphrase_is_asked_for_twice_and_never_shown(shop: Shop, tmp_path: Path) -> None:
    options = ("backup", tmp_path / "b", "--data-dir", shop.data)
    code, shown = typed([PHRASE, "another one"], *options)
    assert code == 1
    assert "the two are not the same" in shown
    code, shown = typed([PHRASE, PHRASE], *options)
    assert code == 0
    assert PHRASE not in shown
    assert "checked. Devices: 1" in shown
    assert "%" not in shown, "so little is over at once"
    assert "The backup is whole" in done(
        "restore", tmp_path / "b", "--data-dir", shop.data, "--passphrase-file", shop.phrase, "--rehearse"
    )
