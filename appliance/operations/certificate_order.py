"""Orders one certificate over ACME (RFC 8555) and ends: the job comes as JSON on stdin, what came of it goes
as JSON to stdout."""

import contextlib
import datetime
import http.server
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import requests
from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from appliance import __version__
from appliance.certificate_orders import Job, Outcome
from appliance.gateway.secret_file import write_secret

ACCOUNT_KEY = "account-key.pem"
WITHIN = datetime.timedelta(seconds=180)
_DOCUMENT = "urn:ietf:params:acme:error:"


class Refused(Exception):
    """There is no certificate; the message says why."""


def main() -> int:
    """One order; returns the exit code, 1 when nothing came of it."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    try:
        outcome = Outcome(pem=_order(job))
    except Refused as refusal:
        outcome = Outcome(error=str(refusal))
    except messages.Error as error:
        outcome = Outcome(error=f"{job.directory}: {_told(error)}")
    except (requests.RequestException, errors.Error, OSError) as error:
        outcome = Outcome(error=f"{job.directory}: {type(error).__name__}: {error}")
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
    return 1 if outcome.error else 0


def _order(job: Job) -> str:
    """Key and certificate with its chain as PEM."""
    acme = _signed_in(job)
    key = _new_key()
    order = acme.new_order(crypto_util.make_csr(key, job.domains))
    asked = [
        _http_challenge(each) for each in order.authorizations if each.body.status != messages.STATUS_VALID
    ]
    answers = {each.chall.path: each.chall.validation(acme.net.key) for each in asked}
    with _answering(job, answers):
        for each in asked:
            acme.answer_challenge(each, each.response(acme.net.key))
        try:
            done = acme.poll_and_finalize(order, datetime.datetime.now() + WITHIN)  # noqa: DTZ005 (theirs is naive)
        except errors.ValidationError as error:
            raise Refused(_unproven(error)) from None
        except errors.TimeoutError:
            raise Refused(f"{job.directory}: the order was not finished in time.") from None
    return key.decode() + done.fullchain_pem


def _signed_in(job: Job) -> client.ClientV2:
    """A client with an account, which is made at the first order."""
    net = client.ClientNetwork(
        JWKEC(key=_account_key(Path(job.folder))),
        alg=ES256,
        user_agent=f"wa-gateway/{__version__}",
    )
    if job.ca is not None:
        net.verify_ssl = job.ca  # type: ignore[assignment]  # requests takes a path, too
    acme = client.ClientV2(client.ClientV2.get_directory(job.directory, net), net)
    wanted = messages.NewRegistration.from_data(email=job.email, terms_of_service_agreed=True)
    try:
        acme.new_account(wanted)
    except errors.ConflictError as known:
        known_as = messages.RegistrationResource(uri=known.location, body=messages.Registration())
        net.account = acme.query_registration(known_as)
    return acme


def _http_challenge(authorization: messages.AuthorizationResource) -> messages.ChallengeBody:
    for each in authorization.body.challenges:
        if isinstance(each.chall, challenges.HTTP01):
            return each
    raise Refused(f"{authorization.body.identifier.value}: it cannot be proven over HTTP.")


@contextlib.contextmanager
def _answering(job: Job, answers: Mapping[str, str]) -> Iterator[None]:
    """Answer challenges over HTTP meanwhile, and nothing else."""
    try:
        server = _Listener((job.host, job.port), _handler(answers))
    except OSError as error:
        raise Refused(f"tls.acme_port: {job.host}:{job.port}: {error.strerror or error}.") from None
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Listener(http.server.ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], handler: Any) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # Without the name look-up of the class above, which nobody needs.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "", self.socket.getsockname()[1]


def _handler(answers: Mapping[str, str]) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            answer = answers.get(self.path)
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/octet-stream")
            self.end_headers()
            self.wfile.write((answer or "").encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Who asks is told to nobody."""

    return Handler


def _account_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    path = folder / ACCOUNT_KEY
    if not path.exists():
        write_secret(path, _new_key())
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _unproven(error: errors.ValidationError) -> str:
    """Which domain could not be proven, and what was said about it."""
    said = []
    for authorization in error.failed_authzrs:
        reasons = [_told(each.error) for each in authorization.body.challenges if each.error is not None]
        said.append(f"{authorization.body.identifier.value}: {'; '.join(reasons) or 'not proven'}")
    return " ".join(said)


def _told(error: messages.Error) -> str:
    kind = (error.typ or "").removeprefix(_DOCUMENT)
    return f"{kind}: {error.detail}" if error.detail else kind
