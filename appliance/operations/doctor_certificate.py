"""What `doctor` looks at of the certificate: the files that are named, or the one that the gateway orders."""

import datetime
from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography import x509

from appliance import tls
from appliance.certificates import ENDS_SOON_S, LAST_TRY, ORDERED, LastTry
from appliance.operations.findings import Finding, Patient, bad, doubtful, good

EXPIRES_SOON = datetime.timedelta(days=14)
ORDERED_EXPIRES_SOON = datetime.timedelta(seconds=ENDS_SOON_S)
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
    return _ending(_end_of(pair.certificate), patient.now_ms, EXPIRES_SOON, _RENEW)


def _ordered(patient: Patient) -> Iterator[Finding]:
    folder = patient.config.data / "tls"
    try:
        yield _ending(_end_of(folder / ORDERED), patient.now_ms, ORDERED_EXPIRES_SOON, _ORDER)
    except (FileNotFoundError, ValueError):
        text = f"The certificate for {', '.join(patient.config.tls.acme_domains)} has not come yet"
        if patient.is_running:
            yield doubtful("tls", f"{text}: browsers warn of the stand-in.", _ORDER)
        else:
            yield good("tls", f"{text}: the gateway orders it when it runs.")
    if (problem := _order_problem(patient, folder / LAST_TRY)) is not None:
        yield doubtful("tls_order", f"The last order of the certificate failed: {problem}", _ORDER)


def _ending(ends: datetime.datetime, now_ms: int, soon: datetime.timedelta, advice: str) -> Finding:
    left = ends - datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC)
    text = f"The certificate is good until {ends:%Y-%m-%d}."
    if left < datetime.timedelta():
        return bad("tls", f"The certificate has expired on {ends:%Y-%m-%d}.", advice)
    return doubtful("tls", text, advice) if left < soon else good("tls", text)


def _end_of(path: Path) -> datetime.datetime:
    """Raises OSError, ValueError."""
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc


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
