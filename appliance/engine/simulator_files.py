"""Files that pretend people send: a built-in sample, or one kept in the device's own folder."""

import hashlib
import os
import shutil
import time
from pathlib import Path
from uuid import uuid4

import msgspec

from appliance.engine.base import EngineError, PretendMessage
from appliance.engine.simulator_samples import SAMPLES, Sample

KEPT_S = 8 * 24 * 3600


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """How `fetch` finds a file again: the kind of the sample, or the name of a kept file."""

    sample: str | None = None
    kept: str | None = None
    broken: bool = False


class PretendFile(msgspec.Struct, frozen=True):
    """A file on its way to us, as WhatsApp would describe it; `size` bytes, `source` for `fetch`."""

    mimetype: str
    size: int
    sha256: bytes
    filename: str | None
    seconds: int | None
    width: int | None
    height: int | None
    source: bytes


def offered(message: PretendMessage, folder: Path) -> PretendFile | None:
    """The file that comes with `message`; None when its kind has none. A given file is kept in `folder`.

    Reads and writes the disk when a path is given. Raises OSError.
    """
    sample = SAMPLES.get(message.kind)
    if sample is None:
        return None
    if message.path is None:
        digest = hashlib.sha256(sample.data).digest()
        source = Source(sample=message.kind, broken=message.broken)
        return _described(message, sample, len(sample.data), digest, source)
    name = _keep(Path(message.path), folder)
    with (folder / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    source = Source(kept=name, broken=message.broken)
    return _described(message, None, (folder / name).stat().st_size, digest, source)


def fetch(source: bytes, folder: Path, path: Path) -> int:
    """Write the file to `path`; returns its size. Raises EngineError `media_unavailable`, OSError."""
    wanted = msgspec.json.decode(source, type=Source)
    if wanted.broken:
        raise EngineError("media_unavailable", "the file is no longer on WhatsApp's servers (rehearsed)")
    if wanted.sample is not None:
        return path.write_bytes(SAMPLES[wanted.sample].data)
    try:
        shutil.copyfile(folder / str(wanted.kept), path)
    except FileNotFoundError:
        raise EngineError("media_unavailable", "the pretend phone no longer has the file") from None
    return path.stat().st_size


def _described(
    message: PretendMessage, sample: Sample | None, size: int, sha256: bytes, source: Source
) -> PretendFile:
    usual = SAMPLES[message.kind]
    filename = message.filename
    if filename is None and message.kind == "document":
        filename = f"document.{usual.extension}"
    return PretendFile(
        mimetype=message.mimetype or usual.mimetype,
        size=size,
        sha256=sha256,
        filename=filename,
        seconds=message.seconds if message.seconds is not None else usual.seconds,
        width=sample.width if sample else None,
        height=sample.height if sample else None,
        source=msgspec.json.encode(source),
    )


def _keep(path: Path, folder: Path) -> str:
    """A copy that outlives the caller's file, as long as WhatsApp's servers might keep it."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.stat().st_mtime < time.time() - KEPT_S:
            old.unlink(missing_ok=True)
    name = uuid4().hex
    shutil.copyfile(path, folder / name)
    os.utime(folder / name)
    return name
