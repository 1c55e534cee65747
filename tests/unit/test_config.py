"""The configuration: the example file teaches and tells the truth, later sources win, mistakes are named."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.config import Config, ConfigError, load
from appliance.reload import RELOADS

EXAMPLE = Path(__file__).resolve().parents[2] / "config.example.toml"
_UNSET_KEY = re.compile(r"# ([a-z_]+ = .+)")
_SECTION = re.compile(r"\[([a-z]+)\]")
_KEY = re.compile(r"(?:# )?([a-z_]+) = ")
SHORTEST_LESSON = 40
SENTENCE = re.compile(r"[A-Z0-9\"].*[.:]", re.DOTALL)


def settings() -> dict[str, Any]:
    """Every setting by its dotted name, with its default."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(Config):
        value = getattr(Config(), field.name)
        if isinstance(value, msgspec.Struct):
            found |= {f"{field.name}.{name}": getattr(value, name) for name in value.__struct_fields__}
        else:
            found[field.name] = value
    return found


def lessons() -> Iterator[tuple[str, str]]:
    """Every key of the example file by its dotted name, with the comment right above it."""
    section, comment = "", list[str]()
    for line in EXAMPLE.read_text("utf-8").splitlines():
        if named := _SECTION.fullmatch(line):
            section, comment = f"{named[1]}.", []
        elif key := _KEY.match(line):
            yield section + key[1], " ".join(comment)
            comment = []
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        else:
            comment = []


def test_the_example_says_the_defaults() -> None:
    assert load(EXAMPLE, {}, []) == Config()


def test_the_example_names_every_key_once_and_teaches_it() -> None:
    taught = list(lessons())
    assert sorted(name for name, _ in taught) == sorted(settings())
    for name, comment in taught:
        assert len(comment) >= SHORTEST_LESSON, f"{name} is not explained"
        assert SENTENCE.fullmatch(comment), f"{name}: {comment}"


def test_only_what_has_no_value_is_commented_out_and_its_example_can_be_used() -> None:
    said = tomllib.loads(EXAMPLE.read_text("utf-8"))
    unsaid = {
        name
        for name in settings()
        if name.partition(".")[2] not in said.get(name.partition(".")[0], {}) and name not in said
    }
    assert unsaid == {name for name, default in settings().items() if default is None}
    text = "\n".join(_UNSET_KEY.sub(r"\1", line) for line in EXAMPLE.read_text("utf-8").splitlines())
    used = msgspec.convert(tomllib.loads(text), Config)
    assert None not in (used.server.public_url, used.limits.default_country_code, used.engine.proxy)
    assert None not in (used.tls.certificate, used.tls.key, used.tls.acme_email, used.logs.file)


def test_lines_of_the_example_fit_a_terminal() -> None:
    assert max(len(line) for line in EXAMPLE.read_text("utf-8").splitlines()) <= 110


def test_what_is_said_later_wins(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("data_dir = 'd'\n[server]\nport = 1\nhost = '::1'\n[limits]\nmessages_per_minute = 5\n")
    environment = {"WA_GATEWAY_SERVER__PORT": "2", "WA_GATEWAY_LIMITS__MESSAGES_PER_MINUTE": "6", "PATH": "x"}
    config = load(file, environment, ["server.port=3"])
    assert (config.data, config.server.host, config.server.port) == (Path("d"), "::1", 3)
    assert config.limits.messages_per_minute == 6
    assert config.logs == Config().logs


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("limits.default_country_code=62", "default_country_code", "62"),
        ("limits.default_country_code='62'", "default_country_code", "62"),
        ("limits.messages_per_minute=62", "messages_per_minute", 62),
        (" limits.messages_per_minute =0", "messages_per_minute", 0),
    ],
)
def test_what_the_command_line_says_becomes_the_kind_that_is_needed(
    override: str, name: str, value: object
) -> None:
    assert getattr(load(None, {}, [override]).limits, name) == value


def test_text_with_an_equals_sign_and_lists_can_be_said() -> None:
    config = load(None, {}, ["engine.proxy=http://h:1/?a=b", 'webhooks.allow=["loopback", "10.0.0.0/8"]'])
    assert config.engine.proxy == "http://h:1/?a=b"
    assert config.webhooks.allow == ["loopback", "10.0.0.0/8"]


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "proxy").write_text("socks5://u:p@h:1\n")
    assert load(None, {}, [f"engine.proxy_file={tmp_path / 'proxy'}"]).engine.proxy == "socks5://u:p@h:1"
    (tmp_path / "noise").write_bytes(b"\xff\xfe")
    for path, said in ((tmp_path / "none", "No such file"), (tmp_path / "noise", "not text")):
        with pytest.raises(ConfigError, match=rf"engine\.proxy_file: .*{said}"):
            load(None, {}, [f"engine.proxy_file={path}"])


def test_only_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    """What is in any other file is not read, so that no error can tell it."""
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----")
    for name in ("tls.key", "tls.certificate", "server.host", "logs.level"):
        with pytest.raises(ConfigError, match=rf"there is no setting {name}_file\.") as refused:
            load(None, {}, [f"{name}_file={tmp_path / 'key.pem'}"])
        assert "BEGIN" not in str(refused.value)


def test_of_a_secret_and_its_file_the_one_said_last_counts(tmp_path: Path) -> None:
    (tmp_path / "phrase").write_text("from the file")
    said = [f"backup.passphrase_file={tmp_path / 'phrase'}", "backup.passphrase=from the line"]
    assert load(None, {}, said).backup.passphrase == "from the line"
    assert load(None, {}, [said[1], *said]).backup.passphrase == "from the line"
    assert load(None, {}, [*said, said[0]]).backup.passphrase == "from the file"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1", r"c\.toml: there is no setting server\.prot\. Did you mean 'port'\?"),
        ("[servers]\nport = 1", r"c\.toml: there is no setting 'servers'\. Did you mean 'server'\?"),
        ("server = 1", r"c\.toml: server is a section"),
        ("[server]\nport = '1'", r"Expected `int`, got `str` - at `server\.port`"),
        ("[server]\nport = 65536", r"<= 65535 - at `server\.port`"),
        ("[limits]\nmessages_per_minute = -1", r">= 0 - at `limits\.messages_per_minute`"),
        ("[limits]\ndefault_country_code = '+62'", r"regex .* - at `limits\.default_country_code`"),
        ("[accounts]\nregistration = 'anybody'", r"'anybody' - at `accounts\.registration`"),
        ("[webhooks]\nallow = ['###']", r"'###': not an address"),
        ("[retention]\nevents_days = 0", r">= 1 - at `retention\.events_days`"),
        ("[engine]\nproxy = 'http://me:secret@h'", r"engine\.proxy: not a proxy address; write it as"),
        ("[engine]\nproxy = 'ftp://h:1'", r"engine\.proxy: not a proxy address"),
        ("[server]\nhost = 'localhost'", r"server\.host: write an address, not a name"),
        ("[server]\nhost = ''", r"server\.host: write an address, not a name"),
        ("[server]\npublic_url = 'wa.example.org'", r"server\.public_url: write the address"),
        ("[server]\npublic_url = 'https://h/wa'", r"server\.public_url: .* without a path"),
        ("[server]\npublic_url = 'https://h:x'", r"server\.public_url: "),
        ("[tls]\ncertificate = 'c.pem'", r"tls\.key: a certificate is used with its key"),
        ("[tls]\nkey = 'k.pem'", r"tls\.certificate: a certificate is used with its key"),
        ("[tls]\nacme_domains = ['wa.example.org']", r"tls\.acme_agree: say true"),
        ("[tls]\nacme_agree = true\nacme_domains = ['*.example.org']", r"tls\.acme_domains: '\*\.example"),
        ("[tls]\nacme_agree = true\nacme_domains = ['192.168.1.2']", r"tls\.acme_domains: '192"),
        ("[tls]\nacme_directory = 'http://h'", r"tls\.acme_directory: it begins with https"),
        ("[tls]\ncertificate = 'c'\nkey = 'k'\nacme_domains = ['h.org']", r"tls\.acme_domains: either"),
        ("[tls]\nacme_domain = ['h.org']", r"tls\.acme_domain\. Did you mean 'acme_domains'\?"),
        ("[logs]\nmax_mib = 0", r">= 1 - at `logs\.max_mib`"),
        ("[server", r"c\.toml: not valid TOML"),
        ("\xff", r"c\.toml: not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=said):
        load(file, {}, [])


@pytest.mark.parametrize(
    ("environment", "overrides", "said"),
    [
        ({"WA_GATEWAY_SERVER__PROT": "1"}, [], "environment variable WA_GATEWAY_SERVER__PROT: .*'port'"),
        ({"WA_GATEWAY_SERVER": "1"}, [], "environment variable WA_GATEWAY_SERVER: server is a section"),
        ({}, ["server.prot=1"], r"--set server\.prot: there is no setting server\.prot"),
        ({}, ["server.port"], r"--set server\.port: write it as section\.key=value"),
        ({}, ["server.port=1", "server.port.x=1"], r"--set server\.port\.x: port has no keys below it"),
        ({}, ["=1"], "there is no setting ''"),
    ],
)
def test_a_mistake_elsewhere_is_named(environment: dict[str, str], overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(None, environment, overrides)


@pytest.mark.parametrize("source", ["file", "environment", "command line", "secret file"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("server.port", 0),
        ("server.host", "localhost"),
        ("server.public_url", "wa.example.org"),
        ("webhooks.allow", ["###"]),
        ("tls.certificate", "c.pem"),
        ("tls.acme_domains", ["wa.example.org"]),
        ("engine.proxy", "http://h"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_with_where_it_was_said(
    tmp_path: Path, source: str, name: str, value: Any
) -> None:
    """The others say something else, which is good."""
    section, _, key = name.partition(".")
    text = msgspec.json.encode(value).decode()
    file, environment, overrides = tmp_path / "c.toml", {"WA_GATEWAY_LOGS__LEVEL": "debug"}, ["logs.keep=1"]
    file.write_text("[logs]\nlevel = 'info'\n")
    said = f"--set {name}"
    if source == "file":
        file.write_text(f"[{section}]\n{key} = {text}\n")
        said = str(file)
    elif source == "environment":
        variable = f"WA_GATEWAY_{section}__{key}".upper()
        environment[variable] = text
        said = f"environment variable {variable}"
    elif source == "command line" or name != "engine.proxy":
        overrides.append(f"{name}={text}")
    else:
        (tmp_path / "secret").write_text(value)
        overrides.append(f"{name}_file={tmp_path / 'secret'}")
    with pytest.raises(ConfigError) as refused:
        load(file, environment, overrides)
    assert str(refused.value).startswith(said)
    assert section in str(refused.value).removeprefix(said)


def test_the_last_who_said_a_value_is_to_blame(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[server]\nport = 1\n")
    environment = {"WA_GATEWAY_SERVER__PORT": "2", "WA_GATEWAY_SERVER": "{port = 'x'}"}
    with pytest.raises(ConfigError, match="environment variable WA_GATEWAY_SERVER: "):
        load(file, environment, [])
    with pytest.raises(ConfigError, match=r"--set server\.port: .*got `str`"):
        load(file, environment, ["server.port=1", "server.port='x'"])
    with pytest.raises(ConfigError, match=r"--set engine\.proxy_file: engine\.proxy_file: .*No such file"):
        load(file, {"WA_GATEWAY_ENGINE__PROXY": "http://h"}, [f"engine.proxy_file={tmp_path / 'none'}"])


def test_a_proxys_password_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as refused:
        load(None, {"WA_GATEWAY_ENGINE__PROXY": "http://me:secret@h"}, [])
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://h", "http://h:8080/", "https://[::1]:8443"])
def test_an_address_without_a_path_is_good(url: str) -> None:
    assert load(None, {}, [f"server.public_url={url}"]).server.public_url == url


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: No such file or directory\."):
        load(tmp_path / "none.toml", {}, [])


MANUAL = EXAMPLE.parent / "web/docs"
_ROW = re.compile(r"\| `([a-z_.]+)` \| (.+?) \| (reload|restart) \| (.+) \|")
SAMPLE_TOML = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("language", ["en", "id"])
def test_the_manual_knows_every_setting_its_default_and_how_it_changes(language: str) -> None:
    text = (MANUAL / language / "configuration.md").read_text("utf-8")
    rows = [_ROW.fullmatch(line) for line in text.splitlines() if line.startswith("| `")]
    assert None not in rows
    told = {row[1]: (row[2], row[3]) for row in rows if row}
    assert list(told) == list(settings())
    for name, default in settings().items():
        shown = told[name][0].strip("`")
        if default is None:
            assert shown in {"none", "tidak ada"}, name
        else:
            assert tomllib.loads(f"value = {shown}")["value"] == default, name
    assert {name for name, (_, change) in told.items() if change == "reload"} == RELOADS


@pytest.mark.parametrize("language", ["en", "id"])
def test_the_samples_of_the_manual_can_be_used(language: str, tmp_path: Path) -> None:
    samples = SAMPLE_TOML.findall((MANUAL / language / "configuration.md").read_text("utf-8"))
    assert len(samples) == 2
    for sample in samples:
        (tmp_path / "c.toml").write_text(sample)
        assert load(tmp_path / "c.toml", {}, []).tls.is_on
