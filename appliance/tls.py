"""TLS: the settings, and whether a certificate and its key can be used together."""

import ssl
from pathlib import Path
from typing import Annotated

import msgspec

from appliance.model.told import Told

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
_NO_PASSWORD = ""


class TlsUnusable(Told):
    """There is no certificate to serve with; the message names the setting and what is wrong with it."""


class TlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`certificate` and `key` are PEM files, the certificate with its chain. `acme_domains` has the
    certificate ordered instead: from `acme_directory`, whose terms `acme_agree` accepts. The directory proves
    the domains over HTTP: the challenge is answered at `acme_port` of the host that the gateway listens on.
    `acme_ca` is the PEM file of who vouches for a private directory."""

    certificate: str | None = None
    key: str | None = None
    key_password: str | None = None
    acme_domains: list[str] = []
    acme_directory: str = LETS_ENCRYPT
    acme_email: str | None = None
    acme_agree: bool = False
    acme_port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 80
    acme_ca: str | None = None

    @property
    def is_on(self) -> bool:
        """Whether the gateway speaks TLS itself."""
        return self.certificate is not None or bool(self.acme_domains)

    @property
    def is_ordered(self) -> bool:
        """Whether the certificate is ordered, and not kept by somebody else."""
        return bool(self.acme_domains)


class Pair(msgspec.Struct, frozen=True):
    """A certificate and its key on disk, perhaps in one file; `password` opens the key."""

    certificate: Path
    key: Path
    password: str | None = None


def named_pair(settings: TlsSettings) -> Pair:
    """The files that the settings name; they need not be there."""
    return Pair(Path(settings.certificate or ""), Path(settings.key or ""), settings.key_password)


def check_files(settings: TlsSettings) -> None:
    """Raises TlsUnusable unless the files that the settings name, if they do, can be served with."""
    if settings.certificate is not None:
        check(named_pair(settings))
    if settings.acme_ca is not None and not Path(settings.acme_ca).is_file():
        raise TlsUnusable(f"tls.acme_ca: {settings.acme_ca}: there is no such file.")


def check(pair: Pair) -> None:
    """Raises TlsUnusable, naming the setting, unless the key is there and fits the certificate."""
    for name, path in (("tls.certificate", pair.certificate), ("tls.key", pair.key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise TlsUnusable(f"{name}: {path}: {error.strerror}.") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Never None: OpenSSL would ask for the password on the terminal.
        context.load_cert_chain(pair.certificate, pair.key, lambda: pair.password or _NO_PASSWORD)
    except ssl.SSLError as error:
        raise TlsUnusable(_reason(pair, error)) from None
    except ValueError:
        raise TlsUnusable("tls.key_password: it is too long to be the password of a key.") from None


def _reason(pair: Pair, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"tls.key: {pair.key}: it is not the key of the certificate {pair.certificate}."
    text = pair.key.read_bytes()
    if b"ENCRYPTED" in text and pair.key != pair.certificate:
        return f"tls.key: {pair.key}: tls.key_password does not open it."
    if b"PRIVATE KEY" not in text:
        return f"tls.key: {pair.key}: there is no private key in PEM in it."
    if b"BEGIN CERTIFICATE" not in pair.certificate.read_bytes():
        return f"tls.certificate: {pair.certificate}: there is no certificate in PEM in it."
    return f"tls.certificate, tls.key: they cannot be used ({error.reason or 'unreadable'})."
