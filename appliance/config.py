"""The configuration: a TOML file, the environment and the command line become one frozen struct.

Later wins: defaults, the file, `WA_GATEWAY_SECTION__KEY` in the environment, `--set section.key=value`.
A secret need not stand in the configuration: the key `name_file` reads the value of `name` from that file.
"""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeGuard
from urllib.parse import urlsplit

import msgspec

from appliance.api.metrics_settings import MetricsSettings
from appliance.engine.settings import EngineSettings
from appliance.gateway.accounts import AccountSettings
from appliance.gateway.backups import BackupSettings
from appliance.gateway.limits import LimitSettings
from appliance.gateway.media_settings import MediaSettings
from appliance.gateway.proxies import check_proxy
from appliance.gateway.retention import RetentionSettings
from appliance.gateway.webhooks import WebhookSettings
from appliance.logs import LogSettings
from appliance.model.errors import Invalid
from appliance.model.told import Told
from appliance.store.database import StoreSettings
from appliance.tls import TlsSettings

ENV_PREFIX = "WA_GATEWAY_"
SECRETS = frozenset({"tls.key_password", "engine.proxy", "backup.passphrase"})
"""What may stand in a file of its own. Nothing else may: who writes `tls.key_file` means the key, and what is
in that would be told as the name of a file that is not there."""
_PLACE = re.compile(r" - at `\$\.([a-z_.]+)")
_DOMAIN = re.compile(r"(?=.{4,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")


class ConfigError(Told):
    """The configuration cannot be used; the message says where and what to write instead."""


class _ValueUnusable(Exception):
    """A value cannot be used; `name` is the setting that it, or what asks for it, was said in."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the gateway listens. `public_url` is the address people reach it by, for links and Origin
    checks."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 8080
    public_url: str | None = None


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set; each room owns its section. `data_dir` is relative to the working
    directory."""

    data_dir: str = "data"
    server: ServerSettings = ServerSettings()
    tls: TlsSettings = TlsSettings()
    accounts: AccountSettings = AccountSettings()
    limits: LimitSettings = LimitSettings()
    engine: EngineSettings = EngineSettings()
    media: MediaSettings = MediaSettings()
    webhooks: WebhookSettings = WebhookSettings()
    retention: RetentionSettings = RetentionSettings()
    store: StoreSettings = StoreSettings()
    backup: BackupSettings = BackupSettings()
    logs: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()

    @property
    def data(self) -> Path:
        return Path(self.data_dir)


def load(file: Path | None, environment: Mapping[str, str], overrides: Iterable[str]) -> Config:
    """The configuration; `overrides` are `section.key=value` texts. Raises ConfigError."""
    overrides = list(overrides)
    tree: dict[str, Any] = {}
    if file is not None:
        tree = read(file)
        _check(tree, str(file))
    for name, text in environment.items():
        if name.startswith(ENV_PREFIX):
            path = name.removeprefix(ENV_PREFIX).lower().split("__")
            _put(tree, path, _value(path, text), f"environment variable {name}")
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: write it as section.key=value.")
        path = key.strip().split(".")
        _put(tree, path, _value(path, text), f"--set {key}")
    try:
        return _convert(tree)
    except _ValueUnusable as error:
        where = origin(error.name, file, environment, overrides)
        kind = "environment variable " if where.startswith(ENV_PREFIX) else ""
        raise ConfigError(f"{kind}{where}: {error}") from None


def origin(name: str, file: Path | None, environment: Mapping[str, str], overrides: Iterable[str]) -> str:
    """Where the setting (or the last one of the section) was said, for people; what is said later wins."""
    for override in reversed(list(overrides)):
        key = override.partition("=")[0].strip()
        if _says(key, name):
            return f"--set {key}" if key != "data_dir" else "--data-dir or --set"
    for variable in reversed(list(environment)):
        key = variable.removeprefix(ENV_PREFIX).lower().replace("__", ".")
        if variable.startswith(ENV_PREFIX) and _says(key, name):
            return variable
    return str(file or "?")


def _says(key: str, name: str) -> bool:
    """Whether who says `key` says something about the setting or section `name`."""
    of_file = key == f"{name}_file" and name in SECRETS
    return key == name or of_file or name.startswith(f"{key}.") or key.startswith(f"{name}.")


def read(file: Path) -> dict[str, Any]:
    """What the file says, as it says it. Raises ConfigError."""
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except PermissionError:
        raise ConfigError(f"{file}: you may not read it. Run this as root (sudo) or as its user.") from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}.") from None


def _value(path: list[str], text: str) -> Any:
    """The text read as a TOML value, or as the string it is where that fits: the country code 62 is text."""
    kind: Any = Config
    for key in path:
        kind = {f.name: f.type for f in msgspec.structs.fields(kind)}.get(key) if _is_section(kind) else None
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text
    return text if not _fits(value, kind) and _fits(text, kind) else value


def _is_section(kind: Any) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _put(tree: dict[str, Any], path: list[str], value: Any, origin: str) -> None:
    nested: Any = value
    for key in reversed(path):
        nested = {key: nested}
    _check(nested, origin)
    *sections, last = path
    for key in sections:
        inner = tree.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{origin}: {key} has no keys below it.")
        tree = inner
    # To the end: of a secret and the file that it may stand in, the one that was said last counts.
    tree.pop(last, None)
    tree[last] = value


def _check(tree: Mapping[str, Any], origin: str) -> None:
    """Raises ConfigError for a key that nothing reads, naming the nearest one that something does."""
    sections = {f.name: f.type for f in msgspec.structs.fields(Config)}
    for key, value in tree.items():
        kind = sections.get(key)
        if kind is None:
            raise ConfigError(f"{origin}: there is no setting {key!r}.{_nearest(key, sections)}")
        if _is_section(kind):
            if not isinstance(value, dict):
                raise ConfigError(f"{origin}: {key} is a section, write [{key}] and its keys below.")
            _check_section(key, kind, value, origin)


def _check_section(section: str, kind: type[msgspec.Struct], value: dict[str, Any], origin: str) -> None:
    names = kind.__struct_fields__
    for key in value:
        if key not in names and not _names_a_file(section, key):
            raise ConfigError(f"{origin}: there is no setting {section}.{key}.{_nearest(key, names)}")


def _names_a_file(section: str, key: str) -> bool:
    return key.endswith("_file") and f"{section}.{key.removesuffix('_file')}" in SECRETS


def _nearest(wrong: str, right: Iterable[str]) -> str:
    found = difflib.get_close_matches(wrong, list(right), 1)
    return f" Did you mean {found[0]!r}?" if found else ""


def _convert(tree: dict[str, Any]) -> Config:
    for section, value in tree.items():
        if isinstance(value, dict):
            tree[section] = {k.removesuffix("_file"): v for k, v in _from_files(section, value)}
    try:
        config = msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        raise _wrong_kind(str(error)) from None
    _check_addresses(config)
    _check_tls(config.tls)
    return config


def _wrong_kind(told: str) -> _ValueUnusable:
    """What msgspec says of a value, which ends in its place."""
    place = _PLACE.search(told)
    name = place[1] if place else "?"
    return _ValueUnusable(name, f"a value cannot be used: {told.replace('$.', '')}.")


def _check_addresses(config: Config) -> None:
    """Raises _ValueUnusable; what is wrong is not repeated, for a proxy's address holds its password."""
    if not _is_address(config.server.host):
        raise _ValueUnusable(
            "server.host",
            "server.host: write an address, not a name: 127.0.0.1 for this machine only, 0.0.0.0 for every "
            "network that it is in, or one of its own addresses.",
        )
    if config.engine.proxy is not None:
        try:
            check_proxy(config.engine.proxy)
        except Invalid:
            raise _ValueUnusable(
                "engine.proxy",
                "engine.proxy: not a proxy address; write it as http://user:password@host:3128 or "
                "socks5://host:1080, with the port.",
            ) from None
    if config.server.public_url is not None and not _is_origin(config.server.public_url):
        raise _ValueUnusable(
            "server.public_url",
            "server.public_url: write the address that people reach this gateway by, without a path: "
            "https://wa.example.org.",
        )


def _is_address(host: str) -> bool:
    """The server listens on nothing else, not even localhost."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not rest


def _check_tls(tls: TlsSettings) -> None:
    """Raises _ValueUnusable for what does not go together; the files themselves are looked at by who uses
    them."""
    if (tls.certificate is None) != (tls.key is None):
        missing = "key" if tls.key is None else "certificate"
        raise _ValueUnusable(
            "tls.certificate" if tls.key is None else "tls.key",
            f"tls.{missing}: a certificate is used with its key; name both files.",
        )
    if tls.certificate is not None and tls.acme_domains:
        raise _ValueUnusable(
            "tls.acme_domains",
            "tls.acme_domains: either the certificate is ordered, or tls.certificate names it.",
        )
    for domain in tls.acme_domains:
        if _DOMAIN.fullmatch(domain) is None:
            raise _ValueUnusable(
                "tls.acme_domains",
                f"tls.acme_domains: {domain!r} is not a domain such as wa.example.org (no address, no *).",
            )
    if tls.acme_domains and not tls.acme_agree:
        raise _ValueUnusable(
            "tls.acme_domains",
            "tls.acme_agree: say true when you accept the terms of whoever gives the certificate "
            f"({tls.acme_directory}).",
        )
    if not tls.acme_directory.startswith("https://"):
        raise _ValueUnusable("tls.acme_directory", "tls.acme_directory: it begins with https://.")


def _from_files(section: str, values: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if not _names_a_file(section, key):
            yield key, value
            continue
        name = f"{section}.{key}"
        try:
            yield key, Path(str(value)).read_text("utf-8").strip()
        except OSError as error:
            raise _ValueUnusable(name, f"{name}: {value}: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise _ValueUnusable(name, f"{name}: {value}: not text in UTF-8.") from None
