"""`check-config`: what differs, where that was said, what is doubtful, and what cannot be used."""

from pathlib import Path

import pytest

from appliance.cli import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "config.toml"
    made.write_text('data_dir = "elsewhere"\n[server]\nport = 9000\n[limits]\nqueue_per_device = 5\n')
    made.chmod(0o600)
    return made


def test_what_differs_is_told_with_its_origin(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WA_GATEWAY_LIMITS__QUEUE_PER_DEVICE", "6")
    arguments = ["check-config", "--config", str(file), "--set", "limits.messages_per_minute=7"]
    assert main([*arguments, "--set", "engine.proxy=socks5://me:secret@proxy.example.org:1080"]) == 0
    shown = capsys.readouterr().out
    told = dict(line.split("   ", 1) for line in shown.splitlines()[:-1])
    assert {setting: origin.strip() for setting, origin in told.items()} == {
        'data_dir = "elsewhere"': str(file),
        "server.port = 9000": str(file),
        "limits.messages_per_minute = 7": "--set limits.messages_per_minute",
        "limits.queue_per_device = 6": "WA_GATEWAY_LIMITS__QUEUE_PER_DEVICE",
        'engine.proxy = "socks5://…@proxy.example.org:1080"': "--set engine.proxy",
    }
    assert shown.endswith("The configuration is good.\n")


def test_defaults_are_said_to_be_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config"]) == 0
    assert capsys.readouterr().out == "Every setting has its default.\nThe configuration is good.\n"


def test_secrets_are_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery")
    assert main(["check-config", "--set", f"backup.passphrase_file={secret}"]) == 0
    shown = capsys.readouterr().out
    assert "correct horse" not in shown
    assert "backup.passphrase = (a secret)   --set backup.passphrase" in shown


def test_no_part_of_a_proxy_password_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--set", "engine.proxy=http://me:se@cr@et@proxy.example.org:3128"]) == 0
    assert 'engine.proxy = "http://…@proxy.example.org:3128"' in capsys.readouterr().out


def test_a_passphrase_that_everybody_can_read_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[backup]\npassphrase = "correct horse battery"\n')
    file.chmod(0o644)
    assert main(["check-config", "--config", str(file)]) == 0
    assert f"Everybody on this machine can read {file}, with secrets in it." in capsys.readouterr().out


def test_a_doubt_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--set", "server.host=0.0.0.0"]) == 0
    assert "without TLS" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("server.prot=1", "Did you mean 'port'?"),
        ("server.port=0", "server.port"),
        ("tls.certificate=nowhere.pem", "tls.key"),
    ],
)
def test_what_cannot_be_used_ends_with_2(setting: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--set", setting]) == 2
    assert told in capsys.readouterr().err


def test_files_that_are_not_there_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--set", "tls.certificate=nowhere.pem", "--set", "tls.key=nowhere.key"]
    assert main(["check-config", *settings]) == 2
    assert "nowhere.pem" in capsys.readouterr().err
