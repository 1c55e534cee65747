"""`python -m loopback --state DIR`: run the network alone and print what a client process needs."""

from __future__ import annotations

import argparse
import json
import logging
import signal
from pathlib import Path

from loopback.patch import PATCH_REASON, can_patch
from loopback.server import LoopbackServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loopback", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="folder for keys, accounts and sessions")
    parser.add_argument("--log", default="WARNING", help="log level")
    options = parser.parse_args()
    logging.basicConfig(level=options.log.upper())
    if not can_patch():
        print(f"note: {PATCH_REASON}; only clients that take the root key as a setting can connect")
    stop_signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    with LoopbackServer(options.state) as net:
        print(json.dumps(net.client_env(), indent=1), flush=True)
        signal.sigwait(stop_signals)


if __name__ == "__main__":
    main()
