"""Asks the running gateway whether it is ready: for containers, installers and watchers without an HTTP
client."""

import contextlib
import http.client
import sys

from appliance.config import Config

ANSWER_S = 5.0
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # addresses to listen on, and where to ask then


def healthcheck(config: Config) -> int:
    """Ask `/readyz` on the configured address and print what it says; returns 0 when it is ready, else 1."""
    host = ANYWHERE.get(config.server.host, config.server.host)
    address = f"http://{f'[{host}]' if ':' in host else host}:{config.server.port}"
    try:
        status = _status(host, config.server.port)
    except (OSError, http.client.HTTPException) as error:
        print(f"{address} does not answer: {error or type(error).__name__}", file=sys.stderr)  # noqa: T201
        return 1
    if status != http.client.OK:
        print(f"{address} answers, and is not ready", file=sys.stderr)  # noqa: T201
        return 1
    print(f"{address} is ready")  # noqa: T201
    return 0


def _status(host: str, port: int) -> int:
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=ANSWER_S)) as connection:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
