"""`doctor`: each thing it looks at, well and not well."""

import argparse
import datetime
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from appliance import cli
from appliance.certificates import LAST_TRY, ORDERED, LastTry
from appliance.config import Config, load
from appliance.operations import config_warnings, doctor, doctor_certificate, doctor_gateway, doctor_machine
from appliance.operations.findings import MIB, Finding, Patient
from appliance.store import opening
from appliance.store.database import StoreSettings
from appliance.store.look import has_wal_reset_bug
from appliance.store.migrate import migrate
from appliance.tls import TlsSettings

HOUR_MS = 3_600_000
NOW_MS = time.time_ns() // 1_000_000


def patient(data: Path, *settings: str, now_ms: int = NOW_MS, **more: object) -> Patient:
    config = load(None, {}, [f"data_dir={str(data)!r}", *settings])
    fresh = Patient(config, None, None, now_ms)
    return msgspec.structs.replace(fresh, **more)


def one(found: Iterator[Finding], check: str) -> Finding:
    """The only finding of that name."""
    [finding] = [each for each in found if each.check == check]
    return finding


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a database, as a stopped gateway leaves it."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    path = folder / "gateway.db"
    opening.prepare(path, StoreSettings())
    migrate(path, StoreSettings())
    opening.begun(path)
    opening.ended(path)
    path.chmod(0o600)
    (folder / "secret.key").touch(mode=0o600)
    return folder


@pytest.fixture
def taken() -> Iterator[int]:
    """A loopback port that something listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def options(*arguments: str) -> argparse.Namespace:
    return cli.parser().parse_args(["doctor", *arguments])


def examined(*arguments: str) -> list[Finding]:
    said = options(*arguments)
    return list(doctor.examine(said, cli.overrides(said)))


def test_nothing_there_yet_is_well(tmp_path: Path) -> None:
    found = examined(f"--data-dir={tmp_path / 'none'}", "--set=server.port=1")
    assert [each for each in found if each.state == "problem" and each.check != "port"] == []
    assert not (tmp_path / "none").exists()
    assert {"config", "versions", "engine", "data_dir", "disk_room", "memory", "clock"} <= {
        each.check for each in found
    }
    assert "whatsapp" not in {each.check for each in found}


def test_a_bad_configuration_does_not_hide_the_rest(data: Path) -> None:
    found = examined(f"--data-dir={data}", "--set=server.prot=1")
    first = one(iter(found), "config")
    assert first.state == "problem"
    assert "Did you mean" in first.text
    assert one(iter(found), "database").state == "ok"


def test_json_is_an_array_and_the_exit_code_tells(
    data: Path, taken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    said = options(f"--data-dir={data}", "--json", f"--set=server.port={taken}")
    assert doctor.run(said, cli.overrides(said)) == 1
    found = json.loads(capsys.readouterr().out)
    assert all(set(each) == {"check", "state", "text", "advice"} for each in found)
    assert [each["check"] for each in found if each["state"] == "problem"] == ["port"]


def test_every_problem_says_what_to_do(data: Path, taken: int, capsys: pytest.CaptureFixture[str]) -> None:
    said = options(f"--data-dir={data}", f"--set=server.port={taken}")
    assert doctor.run(said, cli.overrides(said)) == 1
    shown = capsys.readouterr().out
    assert "✗" in shown
    assert "→ End what listens there, or set server.port." in shown


def test_a_damaged_database_is_seen_and_left_alone(data: Path) -> None:
    path = data / "gateway.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))
    damaged = path.read_bytes()
    assert one(doctor_gateway.check_database(patient(data)), "database").state == "problem"
    assert path.read_bytes() == damaged


def test_what_others_may_read_is_told(data: Path) -> None:
    assert one(doctor_gateway.check_files(patient(data)), "permissions").state == "ok"
    data.chmod(0o755)
    assert one(doctor_gateway.check_files(patient(data)), "permissions").state == "warning"
    (data / "gateway.db").chmod(0o644)
    told = one(doctor_gateway.check_files(patient(data)), "permissions")
    assert (told.state, "gateway.db" in told.text) == ("problem", True)


def test_a_key_file_that_is_gone_is_told(data: Path) -> None:
    assert [each for each in doctor_gateway.check_files(patient(data)) if each.state != "ok"] == []
    (data / "secret.key").unlink()
    assert one(doctor_gateway.check_files(patient(data)), "secret_key").state == "problem"


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = one(doctor_gateway.check_files(patient(tmp_path / "file" / "data")), "data_dir")
    assert told.state == "problem"


def test_an_old_backup_is_told(data: Path) -> None:
    assert one(doctor_gateway.check_backups(patient(data)), "backup").state == "ok"
    later = NOW_MS + 72 * HOUR_MS
    assert one(doctor_gateway.check_backups(patient(data, now_ms=later)), "backup").state == "warning"
    (data / "backups").mkdir()
    at = datetime.datetime.fromtimestamp(NOW_MS / 1000, datetime.UTC)
    (data / "backups" / f"gateway-{at:%Y%m%dT%H%M%SZ}.db").touch()
    assert one(doctor_gateway.check_backups(patient(data)), "backup").state == "ok"
    assert one(doctor_gateway.check_backups(patient(data, now_ms=later)), "backup").state == "warning"
    relaxed = patient(data, "backup.daily=false", now_ms=later)
    assert one(doctor_gateway.check_backups(relaxed), "backup").state == "ok"


def test_a_clock_that_cannot_be_right(data: Path) -> None:
    assert one(doctor_machine.check_clock(patient(data, now_ms=86_400_000)), "clock").state == "problem"
    os.utime(data / "gateway.db", (NOW_MS / 1000 + 10 * 86_400,) * 2)
    told = one(doctor_machine.check_clock(patient(data)), "clock")
    assert (told.state, "files here were written" in told.text) == ("warning", True)


def test_the_address_is_ours_free_or_taken(data: Path, taken: int) -> None:
    busy = patient(data, f"server.port={taken}")
    assert one(doctor_gateway.check_port(busy), "port").state == "problem"
    ours = msgspec.structs.replace(busy, answer={"pid": 7})
    assert one(doctor_gateway.check_port(ours), "port").state == "ok"
    elsewhere = patient(data, "server.host='192.0.2.1'")
    assert "address of this machine" in one(doctor_gateway.check_port(elsewhere), "port").advice


def test_whatsapp_is_reached_by_tcp_alone_and_only_when_asked(data: Path, taken: int) -> None:
    assert list(doctor_gateway.check_reach(patient(data))) == []
    near = patient(data, reach=f"127.0.0.1:{taken}")
    assert one(doctor_gateway.check_reach(near), "whatsapp").state == "ok"
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    far = patient(data, reach=f"127.0.0.1:{closed}")
    assert one(doctor_gateway.check_reach(far), "whatsapp").state == "problem"


def test_where_there_is_a_proxy_the_proxy_is_reached(data: Path, taken: int) -> None:
    behind = patient(
        data, f"engine.proxy='socks5://name:secret@127.0.0.1:{taken}'", reach="web.whatsapp.invalid:443"
    )
    told = one(doctor_gateway.check_reach(behind), "whatsapp")
    assert told.state == "ok"
    assert "secret" not in told.text


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        ("3.6.23", False),
        ("3.40.1", True),
        ("3.44.5", True),
        ("3.44.6", False),
        ("3.45.0", True),
        ("3.50.6", True),
        ("3.50.7", False),
        ("3.51.2", True),
        ("3.51.3", False),
        ("3.53.0", False),
    ],
)
def test_sqlite_with_the_wal_reset_bug_is_known(version: str, has_it: bool) -> None:
    assert has_wal_reset_bug(version) is has_it


MOUNTS = r"""22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:27 / /srv rw - nfs4 server:/export rw
31 30 0:28 / /srv/with\040space rw - tmpfs tmpfs rw
32 22 0:29 / /srvother rw master:3 - overlay overlay rw"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/srv/data", "nfs4"),
        ("/srv/with space/data", "tmpfs"),
        ("/srvother", "overlay"),
        ("/srvnothing", "ext4"),
    ],
)
def test_the_filesystem_is_that_of_the_nearest_mount(folder: str, kind: str) -> None:
    assert doctor_machine.filesystem_of(Path(folder), MOUNTS) == kind


def test_devices_want_memory_and_open_files(data: Path) -> None:
    few, many = ({"devices": count} for count in (1, 1_000_000))
    assert one(doctor_machine.check_memory(patient(data, answer=few)), "memory").state == "ok"
    assert one(doctor_machine.check_memory(patient(data, answer=many)), "memory").state == "problem"
    assert one(doctor_machine.check_descriptors(patient(data, answer=few)), "descriptors").state == "ok"


def test_an_older_gateway_still_running_is_told(data: Path) -> None:
    old = patient(data, answer={"version": "0.0.9"})
    assert one(doctor_machine.check_versions(old), "version").state == "warning"


STORE = {"diskLow": False, "recovery": None, "backupFailed": False}


@pytest.mark.parametrize(
    ("said", "state"),
    [({}, "ok"), ({"diskLow": True}, "problem"), ({"recovery": {"at": 1}}, "warning")],
)
def test_a_running_gateway_is_believed_about_its_database(
    data: Path, said: dict[str, object], state: str
) -> None:
    running = patient(data, answer={"devices": 1, "store": STORE | said})
    assert one(doctor_gateway.check_database(running), "database").state == state


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (["server.host='0.0.0.0'"], "without TLS"),
        (["server.host='::'"], "without TLS"),
        (["server.public_url='http://wa.example.org'"], "not https"),
        (["server.host='0.0.0.0'", "server.public_url='https://wa.example.org'"], None),
        (["server.public_url='http://127.0.0.1:8080'"], None),
        (["server.public_url='http://localhost:8080'"], None),
        ([], None),
    ],
)
def test_what_a_good_configuration_hardly_means(settings: list[str], word: str | None) -> None:
    told = list(config_warnings.of(load(None, {}, settings), None))
    assert [word in each.text for each in told if word] == ([True] if word else [])
    assert bool(told) is (word is not None)


@pytest.mark.parametrize(
    ("said", "is_secret"),
    [
        ("[engine]\nproxy = 'http://name:secret@proxy.example.org:3128'", True),
        ("[engine]\nproxy = 'http://proxy.example.org:3128'", False),
        ("[backup]\npassphrase = 'correct horse battery'", True),
        ("[tls]\nkey_password = 'correct horse battery'", True),
        ("[backup]\npassphrase_file = '{secret}'", False),
        ("", False),
    ],
)
def test_a_readable_file_with_secrets_is_told(tmp_path: Path, said: str, is_secret: bool) -> None:
    """Whatever is said elsewhere: the command line's secret is none of the file's."""
    secret, file = tmp_path / "secret", tmp_path / "config.toml"
    secret.write_text("correct horse battery")
    secret.chmod(0o600)
    file.write_text(said.format(secret=secret))
    config = load(file, {}, ["backup.passphrase='said elsewhere'"])
    told = f"Everybody on this machine can read {file}, with secrets in it."
    for mode, expected in ((0o644, [told] if is_secret else []), (0o640, [])):
        file.chmod(mode)
        assert [doubt.text for doubt in config_warnings.of(config, file)] == expected
    file.chmod(0o662)
    assert [doubt.advice for doubt in config_warnings.of(config, file)] == [f"chmod o-w {file}"]


def test_a_readable_file_with_one_secret_is_told(tmp_path: Path) -> None:
    secret, file = tmp_path / "secret", tmp_path / "config.toml"
    secret.write_text("correct horse battery")
    secret.chmod(0o644)
    file.write_text(f"[backup]\npassphrase_file = '{secret}'")
    [doubt] = config_warnings.of(load(file, {}, []), file)
    assert doubt.text == f"Everybody on this machine can read {secret} (backup.passphrase_file)."


def test_a_readable_key_is_told(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    config = Config(tls=TlsSettings(certificate="certificate.pem", key=str(key)))
    assert list(config_warnings.of(config, None)) == []
    key.touch(0o600)
    assert list(config_warnings.of(config, None)) == []
    key.chmod(0o644)
    [doubt] = config_warnings.of(config, None)
    assert "(tls.key)" in doubt.text


@pytest.mark.parametrize(("free_mib", "state"), [(10, "problem"), (100, "warning"), (10_000, "ok")])
def test_little_room_is_told(free_mib: int, state: str) -> None:
    assert doctor_machine.room(free_mib * MIB).state == state


def certificate(folder: Path, days: int) -> list[str]:
    """Settings that name a certificate and its key; it ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "wa.example.org")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=90))
        .not_valid_after(now + datetime.timedelta(days=days, hours=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return [f"tls.certificate='{folder}/tls.pem'", f"tls.key='{folder}/tls.key'"]


@pytest.mark.parametrize(("days", "state"), [(60, "ok"), (5, "warning"), (-1, "problem")])
def test_a_certificate_says_when_it_ends(data: Path, days: int, state: str) -> None:
    assert one(doctor_certificate.check_tls(patient(data, *certificate(data, days))), "tls").state == state


def test_a_key_that_is_not_the_certificates_is_told(data: Path) -> None:
    settings = certificate(data, 60)
    (data / "tls.key").write_text("nothing")
    assert one(doctor_certificate.check_tls(patient(data, *settings)), "tls").state == "problem"
    assert list(doctor_certificate.check_tls(patient(data))) == []


ORDERS = ["tls.acme_domains=['wa.example.org']", "tls.acme_agree=true"]


def note_order(data: Path, failures: int, domain: str = "wa.example.org") -> None:
    """As the gateway notes its last order."""
    (data / "tls").mkdir(exist_ok=True)
    note = LastTry([domain], TlsSettings().acme_directory, NOW_MS / 1000, failures)
    (data / "tls" / LAST_TRY).write_bytes(msgspec.json.encode(note))


@pytest.mark.parametrize(("days", "state"), [(30, "ok"), (3, "warning"), (-1, "problem")])
def test_an_ordered_certificate_says_when_it_ends(data: Path, days: int, state: str) -> None:
    (data / "tls").mkdir()
    certificate(data / "tls", days)
    (data / "tls" / "tls.pem").rename(data / "tls" / ORDERED)
    note_order(data, failures=0)
    [finding] = doctor_certificate.check_tls(patient(data, *ORDERS))
    assert (finding.check, finding.state) == ("tls", state)


def test_a_certificate_that_is_still_to_be_ordered_is_no_trouble(data: Path) -> None:
    assert one(doctor_certificate.check_tls(patient(data, *ORDERS)), "tls").state == "ok"
    state = {"source": "stand_in", "problem": None}
    running = patient(data, *ORDERS, answer={"certificate": state})
    [finding] = doctor_certificate.check_tls(running)
    assert (finding.state, "stand-in" in finding.text) == ("warning", True)


def test_an_order_that_fails_is_told(data: Path) -> None:
    note_order(data, failures=4)
    finding = one(doctor_certificate.check_tls(patient(data, *ORDERS)), "tls_order")
    assert (finding.state, "in a row: 4." in finding.text) == ("warning", True)
    state = {"source": "stand_in", "problem": "The name leads elsewhere."}
    running = patient(data, *ORDERS, answer={"certificate": state})
    assert "leads elsewhere" in one(doctor_certificate.check_tls(running), "tls_order").text
    note_order(data, failures=4, domain="another.example.org")
    assert [each.check for each in doctor_certificate.check_tls(patient(data, *ORDERS))] == ["tls"]


@pytest.mark.parametrize("wrong", ["nonsense", ":443", "host:", "host:0", "host:65536", "host:²"])
def test_an_address_that_is_none_is_wrong_usage(wrong: str) -> None:
    with pytest.raises(SystemExit) as ended:
        options("--reach-whatsapp", f"--whatsapp-address={wrong}")
    assert ended.value.code == 2


@pytest.mark.parametrize(
    "proxy", ["http://127.0.0.1:1/", "http://127.0.0.1:1?a=b", f"http://{'a' * 70}.example:1"]
)
def test_a_proxy_that_is_not_there_is_told(data: Path, proxy: str) -> None:
    tried = patient(data, f"engine.proxy={proxy}", reach="example.test:1")
    assert one(doctor_gateway.check_reach(tried), "whatsapp").state == "problem"
