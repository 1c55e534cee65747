"""What the service tells systemd: ready, stopping, still alive (sd_notify(3))."""

import contextlib
import os
import socket
import time


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


def watchdog_s() -> float | None:
    """How often systemd wants to hear from us, in seconds: half of its limit; None without a watchdog."""
    limit_us = os.environ.get("WATCHDOG_USEC")
    return int(limit_us) / 2_000_000 if limit_us else None
