"""What survives a restart of the server: accounts, keys, groups, phones, files and the ledger."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

from loopback.network import Network

_FILE = "network.pickle"


def save(net: Network, proxy_port: int, folder: Path) -> None:
    """Write the state whole or not at all. Trusted input only ever comes from this same module."""
    state = {
        "directory": net.directory,
        "phones": net.phones,
        "blobs": net.media.blobs,
        "ledger": net.ledger.entries,
        "proxy_port": proxy_port,
    }
    fresh = folder / f"{_FILE}.new"
    with fresh.open("wb") as file:
        pickle.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / _FILE)


def load(net: Network, folder: Path) -> int:
    """Fill a new network with what `save` wrote, if it did; returns the former proxy port, or 0."""
    file = folder / _FILE
    if not file.exists():
        return 0
    state = pickle.loads(file.read_bytes())
    net.directory = state["directory"]
    net.phones = state["phones"]
    net.media.blobs = state["blobs"]
    net.ledger.entries = state["ledger"]
    for phone in net.phones.values():
        phone.resume(net)
    return int(state["proxy_port"])
