"""What `doctor` looks at of the certificate: the files that are named, or the one that the gateway orders."""

import datetime
from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography import x509

from appliance import tls
from appliance.certificates import LAST_TRY, ORDERED, LastTry, ends_soon
from appliance.operations.findings import Finding, Patient, bad, doubtful, good

EXPIRES_SOON = datetime.timedelta(days=14)
_RENEW = "Renew it, then reload."
_ORDER = (
    "The domain must lead to this machine, and port 80 be reachable from the internet; the log says why: "
    "certificate_order_failed."
)


def check_tls(patient: Patient) -> Iterator[Finding]:
    """Whether there is a certificate to serve with, for how long, and whether its renewal goes well."""
    if patient.config.tls.is_ordered:
        yield from _ordered(patient)
    elif patient.config.tls.certificate is not None:
        yield _named(patient)


def _named(patient: Patient) -> Finding:
    pair = tls.named_pair(patient.config.tls)
    try:
        tls.check(pair)
    except tls.TlsUnusable as error:
        return bad("tls", str(error), "Name a certificate with its chain, and the key that fits it.")
    leaf, now = _leaf(pair.certificate), _now(patient)
    return _ending(leaf, now, _RENEW, soon=leaf.not_valid_after_utc - now < EXPIRES_SOON)


def _ordered(patient: Patient) -> Iterator[Finding]:
    folder = patient.config.data / "tls"
    try:
        leaf, now = _leaf(folder / ORDERED), _now(patient)
        yield _ending(leaf, now, _ORDER, soon=ends_soon(leaf, now.timestamp()))
    except (FileNotFoundError, ValueError):
        text = f"The certificate for {', '.join(patient.config.tls.acme_domains)} has not come yet"
        if patient.is_running:
            yield doubtful("tls", f"{text}: browsers warn of the stand-in.", _ORDER)
        else:
            yield good("tls", f"{text}: the gateway orders it when it runs.")
    if (problem := _order_problem(patient, folder / LAST_TRY)) is not None:
        yield doubtful("tls_order", f"The last order of the certificate failed: {problem}", _ORDER)


def _ending(leaf: x509.Certificate, now: datetime.datetime, advice: str, *, soon: bool) -> Finding:
    ends = leaf.not_valid_after_utc
    if ends < now:
        return bad("tls", f"The certificate has expired on {ends:%Y-%m-%d}.", advice)
    text = f"The certificate is good until {ends:%Y-%m-%d}."
    return doubtful("tls", text, advice) if soon else good("tls", text)


def _leaf(path: Path) -> x509.Certificate:
    """Raises OSError, ValueError."""
    return x509.load_pem_x509_certificate(path.read_bytes())


def _now(patient: Patient) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(patient.now_ms / 1000, datetime.UTC)


def _order_problem(patient: Patient, note: Path) -> str | None:
    """Why the last order failed: the running gateway knows, else its note says how often."""
    told = (patient.answer or {}).get("certificate")
    if told is not None:
        return None if told["problem"] is None else str(told["problem"])
    try:
        last = msgspec.json.decode(note.read_bytes(), type=LastTry)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    if not last.failures or not last.is_of(patient.config.tls):
        return None
    at = datetime.datetime.fromtimestamp(last.at, datetime.UTC)
    return f"on {at:%Y-%m-%d}, in a row: {last.failures}."
