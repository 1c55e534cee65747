"""The certificate that https is served with: looked after for the whole life, ordered anew in time if it is
ordered at all, and swapped while the gateway runs."""

import asyncio
import contextlib
import datetime
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from appliance.certificate_orders import Job, Order, OrderFailed, order_by_child
from appliance.gateway.installation import CertificateState, Source
from appliance.gateway.secret_file import write_secret
from appliance.tls import Pair, TlsSettings, TlsUnusable, check, check_files, named_pair

log = logging.getLogger(__name__)

ORDERED, STAND_IN, LAST_TRY = "certificate.pem", "stand-in.pem", "last-order.json"
LOOK_EVERY_S = 3600.0
ENDS_SOON_S = 5 * 24 * 3600.0
STAND_IN_DAYS = 3650
WAIT_S, WAIT_ASKED_S, WAIT_LONGEST_S = 3600.0, 900.0, 24 * 3600.0
"""After the first failure, when an administrator asks, and at most; it doubles. The public givers of
certificates allow five failures an hour."""

Replace = Callable[[bytes], Awaitable[None]]


class LastTry(msgspec.Struct, frozen=True):
    """The last order: for what, when (s since 1970), and how many failed in a row."""

    domains: list[str]
    directory: str
    at: float
    failures: int

    def is_of(self, settings: TlsSettings) -> bool:
        """Whether it was for what these settings order."""
        return (self.domains, self.directory) == (settings.acme_domains, settings.acme_directory)


class Certificates:
    """`pem` is what to serve with after `prepare`: the key, not sealed, and the certificate with its chain.
    `folder` is made when it is needed; `host` is where a challenge is answered. Everything here reads small
    files at once: there is nothing to wait for."""

    def __init__(
        self,
        settings: TlsSettings,
        folder: Path,
        host: str,
        order: Order = order_by_child,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._host = host
        self._order = order
        self._now = now
        self._wake = asyncio.Event()
        self._asked = False
        self._problem: str | None = None
        self._tried: LastTry | None = None
        self._pair: Pair
        self.pem: bytes

    def prepare(self) -> None:
        """Have something to serve with: the files, the ordered certificate, or a stand-in until it has come.
        Raises TlsUnusable."""
        pair = named_pair(self._settings)
        if self._settings.is_ordered:
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                pair = self._ordered_pair() or self._stand_in()
            except OSError as error:
                raise TlsUnusable(f"{self._folder}: {error.strerror}.") from error
        self._pair, self.pem = pair, readable(pair)

    def use(self, settings: TlsSettings) -> None:
        """Go by these settings from now on, and look at once whether there is something new, or to order."""
        self._settings, self._asked = settings, True
        self._wake.set()

    def state(self) -> CertificateState:
        """How the certificate stands that is served with now."""
        leaf = x509.load_pem_x509_certificate(self.pem)
        source: Source = "ordered" if self._settings.is_ordered else "files"
        if self._pair.certificate == self._folder / STAND_IN:
            source = "stand_in"
        return CertificateState(
            source=source,
            expires_at=int(leaf.not_valid_after_utc.timestamp() * 1000),
            ends_soon=ends_soon(leaf, self._now()),
            problem=self._problem,
        )

    async def run(self, replace: Replace) -> None:
        """Order when it is time, and `replace` what is served whenever it is another one. For ever."""
        while True:
            if self._settings.is_ordered and self._due_at() <= self._now():
                await self._try_order()
            self._asked = False
            await self._look(replace)
            self._wake.clear()
            wait_s = self._due_at() - self._now() if self._settings.is_ordered else LOOK_EVERY_S
            try:
                async with asyncio.timeout(min(max(wait_s, 1.0), LOOK_EVERY_S)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _look(self, replace: Replace) -> None:
        """Serve with what is on disk now, if it can be served with."""
        pair = named_pair(self._settings)
        if self._settings.is_ordered:
            pair = self._ordered_pair() or self._pair
        try:
            if (pem := readable(pair)) == self.pem:
                return
            await replace(pem)
        except (TlsUnusable, OSError) as error:
            self._problem = str(error)
            log.error("certificate_refused", extra={"reason": str(error)})
            return
        self._pair, self.pem = pair, pem
        if not self._settings.is_ordered:
            self._problem = None
        log.info("certificate_replaced")

    async def _try_order(self) -> None:
        last = self._last_try()
        failures = last.failures if last else 0
        settings = self._settings
        job = Job(
            folder=str(self._folder),
            domains=settings.acme_domains,
            directory=settings.acme_directory,
            email=settings.acme_email,
            host=self._host,
            port=settings.acme_port,
            ca=settings.acme_ca,
        )
        try:
            self._note_try(failures + 1)
            pem = await self._order(job)
            write_secret(self._folder / ORDERED, pem)
        except (OrderFailed, OSError) as error:
            self._problem = str(error)
            log.error("certificate_order_failed", extra={"reason": str(error)})
        else:
            self._problem = None
            with contextlib.suppress(OSError):
                self._note_try(0)
            log.info("certificate_ordered")

    def _due_at(self) -> float:
        """When to order: at two thirds of the certificate's life, a little earlier for some than for others;
        after a failure later."""
        due_at = 0.0
        pair = self._ordered_pair()
        if pair is not None and _names(leaf := _leaf(pair)) >= set(self._settings.acme_domains):
            due_at = renew_at(leaf)
        last = self._last_try()
        if last is not None and last.failures and last.at <= self._now():
            due_at = max(due_at, last.at + wait_s(last.failures, asked=self._asked))
        return due_at

    def _ordered_pair(self) -> Pair | None:
        return _usable(Pair(self._folder / ORDERED, self._folder / ORDERED))

    def _stand_in(self) -> Pair:
        path = self._folder / STAND_IN
        if (pair := _usable(Pair(path, path))) is None:
            write_secret(path, _self_signed(self._settings.acme_domains))
            pair = Pair(path, path)
        return pair

    def _last_try(self) -> LastTry | None:
        """The last order of what is ordered now; after a change of the settings there was none."""
        try:
            last = self._tried or msgspec.json.decode((self._folder / LAST_TRY).read_bytes(), type=LastTry)
        except (OSError, msgspec.DecodeError):
            return None
        return last if last.is_of(self._settings) else None

    def _note_try(self, failures: int) -> None:
        """On disk, so that a gateway which is started again and again does not order as often; and in memory,
        so that a full disk is not asked every second. Raises OSError."""
        settings = self._settings
        self._tried = LastTry(settings.acme_domains, settings.acme_directory, self._now(), failures)
        write_secret(self._folder / LAST_TRY, msgspec.json.encode(self._tried))


def ends_soon(certificate: x509.Certificate, now: float) -> bool:
    """Whether its renewal has failed for so long that somebody should look: five days before its end, or the
    last sixth of its life if that is less."""
    ends = certificate.not_valid_after_utc.timestamp()
    life = ends - certificate.not_valid_before_utc.timestamp()
    return ends - now < min(ENDS_SOON_S, life / 6)


def renew_at(certificate: x509.Certificate) -> float:
    """Seconds since 1970: two thirds of its life, less up to a twenty-fourth."""
    begins = certificate.not_valid_before_utc.timestamp()
    life = certificate.not_valid_after_utc.timestamp() - begins
    share = int.from_bytes(certificate.fingerprint(hashes.SHA256())[:4]) / 2**32
    return begins + life * (2 / 3 - share / 24)


def wait_s(failures: int, *, asked: bool) -> float:
    """How long after the last of so many failures in a row the next order may be tried."""
    return WAIT_ASKED_S if asked else min(WAIT_S * 2 ** (failures - 1), WAIT_LONGEST_S)


def _usable(pair: Pair) -> Pair | None:
    try:
        check(pair)
    except TlsUnusable:
        return None
    return pair


def check_settings(settings: TlsSettings) -> None:
    """Raises TlsUnusable unless what the settings name can be served with."""
    check_files(settings)
    if settings.certificate is not None:
        readable(named_pair(settings))


def readable(pair: Pair) -> bytes:
    """The key in the one form that every server reads, and the certificate with its chain. Raises
    TlsUnusable."""
    check(pair)
    password = pair.password.encode() if pair.password else None
    try:
        key = serialization.load_pem_private_key(pair.key.read_bytes(), password)
        certificates = x509.load_pem_x509_certificates(pair.certificate.read_bytes())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TlsUnusable(
            f"tls.certificate, tls.key: they cannot be read ({type(error).__name__})."
        ) from None
    if not _can_be_served_with(key):
        raise TlsUnusable(
            f"tls.key: {pair.key}: this kind of key cannot be served with; take ECDSA P-256 or P-384, "
            "Ed25519, or RSA with 2048 to 4096 bits."
        )
    return b"".join(
        [_private(key), *(each.public_bytes(serialization.Encoding.PEM) for each in certificates)]
    )


def _can_be_served_with(key: PrivateKeyTypes) -> bool:
    """Any other kind makes the server's TLS abort the whole process."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    if isinstance(key, rsa.RSAPrivateKey):
        return 2048 <= key.key_size <= 4096
    return isinstance(key, ed25519.Ed25519PrivateKey)


def _private(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _leaf(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes())


def _names(certificate: x509.Certificate) -> set[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(extension.value.get_values_for_type(x509.DNSName))


def _self_signed(domains: list[str]) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [x509.NameAttribute(x509.NameOID.COMMON_NAME, "WA Gateway, until a certificate has come")]
    )
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=STAND_IN_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in domains]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _private(key) + certificate.public_bytes(serialization.Encoding.PEM)
