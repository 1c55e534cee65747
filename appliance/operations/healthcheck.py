"""Asks the running gateway whether it is ready: for containers, installers and watchers without an HTTP
client."""

import contextlib
import http.client
import ssl
import sys

from appliance.config import Config

ANSWER_S = 5.0
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # addresses to listen on, and where to ask then


def healthcheck(config: Config) -> int:
    """Ask `/readyz` on the configured address and print what it says; returns 0 when it is ready, else 1."""
    host = ANYWHERE.get(config.server.host, config.server.host)
    scheme = "https" if config.tls.is_on else "http"
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{config.server.port}"
    try:
        status = _status(host, config.server.port, tls=config.tls.is_on)
    except (OSError, http.client.HTTPException) as error:
        print(f"{address} does not answer: {error or type(error).__name__}", file=sys.stderr)  # noqa: T201
        return 1
    if status != http.client.OK:
        print(f"{address} answers, and is not ready", file=sys.stderr)  # noqa: T201
        return 1
    print(f"{address} is ready")  # noqa: T201
    return 0


def _status(host: str, port: int, *, tls: bool) -> int:
    with contextlib.closing(_connection(host, port, tls=tls)) as connection:
        connection.request("GET", "/readyz")
        return connection.getresponse().status


def _connection(host: str, port: int, *, tls: bool) -> http.client.HTTPConnection:
    if not tls:
        return http.client.HTTPConnection(host, port, timeout=ANSWER_S)
    # The certificate is for the name that others know: whether we run is what is asked here.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=ANSWER_S, context=context)
