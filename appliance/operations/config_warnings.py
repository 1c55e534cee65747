"""What a good configuration says that is hardly meant: for `check-config` and `doctor`."""

import ipaddress
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from appliance.config import SECRETS, Config, ConfigError, read


class Doubt(msgspec.Struct, frozen=True):
    """A sentence about a setting, and what to do about it."""

    text: str
    advice: str


def of(config: Config, config_file: Path | None) -> Iterator[Doubt]:
    """Every warning about these settings and the files that they stand in. Raises nothing."""
    yield from _address(config)
    if config_file is not None:
        said = _said_in(config_file)
        yield from _file(config_file, is_secret=any(_is_secret(*each) for each in said.items()))
        for name in sorted({f"{secret}_file" for secret in SECRETS} & said.keys()):
            yield from _alone(name, Path(str(said[name])))
    if config.tls.key is not None:
        yield from _alone("tls.key", Path(config.tls.key))


def _address(config: Config) -> Iterator[Doubt]:
    url = config.server.public_url or ""
    if not _is_loopback(config.server.host) and not config.tls.is_on and not url.startswith("https:"):
        yield Doubt(
            f"server.host {config.server.host} is open to the network without TLS: keys and messages cross "
            "it in the clear.",
            "Set [tls], or put a proxy with TLS before it and name it in server.public_url.",
        )
    if url.startswith("http:") and not _is_loopback(url.partition("//")[2].partition("/")[0]):
        yield Doubt(
            f"server.public_url {url} is not https: browsers send passwords there in the clear.",
            "Use https, here or in a proxy.",
        )


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] if host.count(":") == 1 else host.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _said_in(file: Path) -> Mapping[str, Any]:
    """The file's own settings by their dotted names: what is said elsewhere, or in another file, is no secret
    of this one."""
    try:
        sections = read(file).items()
    except ConfigError:
        return {}
    pairs = ((name, value) for name, value in sections if isinstance(value, dict))
    return {f"{name}.{key}": value for name, section in pairs for key, value in section.items()}


def _is_secret(name: str, value: Any) -> bool:
    return name in SECRETS and (name != "engine.proxy" or "@" in str(value))


def _file(path: Path, *, is_secret: bool) -> Iterator[Doubt]:
    mode = _mode(path)
    if mode & stat.S_IWOTH:
        yield Doubt(f"Everybody on this machine can change {path}.", f"chmod o-w {path}")
    if is_secret and mode & stat.S_IROTH:
        yield Doubt(f"Everybody on this machine can read {path}, with secrets in it.", f"chmod o-r {path}")


def _alone(name: str, path: Path) -> Iterator[Doubt]:
    """A file that holds nothing but a secret."""
    if _mode(path) & stat.S_IROTH:
        yield Doubt(f"Everybody on this machine can read {path} ({name}).", f"chmod o-r {path}")


def _mode(path: Path) -> int:
    """Who may do what with the file; 0 when that cannot be seen."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
