"""Small files with secrets: private from their first byte, and whole or not there, also after a power cut."""

import os
from pathlib import Path

from appliance.store.last_stop import sync_folder


def write_secret(path: Path, content: bytes) -> None:
    """Make or replace the file, mode 0600; when this returns it is on the disk. Raises OSError."""
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)
