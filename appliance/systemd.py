"""What the service tells systemd: ready, stopping, still alive (sd_notify(3))."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

MORE_EVERY_S = 10.0
_MORE_S = 60


def notify(state: str) -> None:
    """Send `READY=1`, `STOPPING=1`, `WATCHDOG=1`, `STATUS=…`; without systemd this does nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    path = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(path)
        sender.send(state.encode())


def reloading() -> None:
    """Tell that the configuration is being read again; `READY=1` ends that."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


@contextlib.contextmanager
def taking_long(every_s: float = MORE_EVERY_S) -> Iterator[None]:
    """Ask for more time while the block runs: a large database is checked, restored or upgraded for as long
    as that takes, and to be killed meanwhile would only begin it again."""
    done = threading.Event()

    def ask() -> None:
        while not done.wait(every_s):
            notify(f"EXTEND_TIMEOUT_USEC={_MORE_S * 1_000_000}\nSTATUS=Preparing the database")

    asking = threading.Thread(target=ask, name="taking-long", daemon=True)
    asking.start()
    try:
        yield
    finally:
        done.set()
        asking.join()


def watchdog_s() -> float | None:
    """How often systemd wants to hear from us, in seconds: half of its limit; None without a watchdog."""
    limit_us = os.environ.get("WATCHDOG_USEC")
    return int(limit_us) / 2_000_000 if limit_us else None
