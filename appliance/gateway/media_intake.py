"""Takes a file in as it comes: bounded, hashed on the way, and safely on disk before anybody relies on it."""

import asyncio
import base64
import binascii
import contextlib
import errno
import hashlib
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, TypeVar

import msgspec

from appliance.model.errors import FieldError, GatewayError, Invalid, MediaTooLarge, StorageFull
from appliance.store.database import StoreError

P = ParamSpec("P")
T = TypeVar("T")

BLOCK_SIZE = 1024 * 1024
_MIB = 1024 * 1024
_FULL = {errno.ENOSPC, errno.EDQUOT}
_SPACES = re.compile(r"\s+")
_URL_ALPHABET = str.maketrans("-_", "+/")


class TakenIn(msgspec.Struct, frozen=True):
    """A file that is on disk: `size` in bytes, the SHA-256 of its content."""

    size: int
    sha256: bytes


async def take_in(chunks: AsyncIterable[bytes], path: Path, limit: int) -> TakenIn:
    """Write what comes to the new file `path` and force it to disk; after any error the file is gone.

    Raises MediaTooLarge beyond `limit` bytes, StorageFull, StoreError, and what `chunks` raises.
    """
    file = await on_disk(path.open, "xb")
    digest, size, held = hashlib.sha256(), 0, bytearray()
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise too_large(limit)
            held += chunk
            if len(held) >= BLOCK_SIZE:
                await on_disk(_write, file, digest, bytes(held))
                held.clear()
        await on_disk(_finish, file, digest, bytes(held), path.parent)
    except BaseException:
        _abandon(file, path)
        raise
    return TakenIn(size, digest.digest())


def decoded(text: str, limit: int) -> tuple[bytes, str | None]:
    """The bytes of a base64 text, and the type that stands in a data URL. Raises Invalid, MediaTooLarge.

    Line breaks, the alphabet for URLs and missing padding are taken too: encoders differ.
    """
    mimetype = None
    if text[:5].lower() == "data:":
        about, comma, text = text[5:].partition(",")
        mimetype, _, coding = about.rpartition(";")
        if not comma or coding.strip().lower() != "base64":
            raise Invalid("A data URL must say ;base64, before its data.", field="base64")
    if len(text) * 3 // 4 > limit * 2:
        raise too_large(limit)
    plain = _SPACES.sub("", text).rstrip("=").translate(_URL_ALPHABET)
    if len(plain) * 3 // 4 > limit:
        raise too_large(limit)
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True), mimetype
    except (binascii.Error, ValueError):
        raise Invalid("This is not base64.", field="base64") from None


def too_large(limit: int) -> MediaTooLarge:
    shown = f"{limit // _MIB} MiB" if limit >= _MIB else f"{limit} bytes"
    return MediaTooLarge(f"A file may have at most {shown} here.")


async def one_chunk(data: bytes) -> AsyncIterator[bytes]:
    """The bytes as a stream of one piece."""
    yield data


async def on_disk(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run disk work on a thread. Raises StorageFull and StoreError instead of OSError."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OSError as error:
        raise disk_error(error) from None


def disk_error(error: OSError) -> GatewayError:
    """What the disk's refusal is to a caller."""
    if error.errno in _FULL:
        return StorageFull("There is no room left on the disk for the file.")
    return StoreError(f"The file could not be written: {error.strerror or type(error).__name__}.")


def settle_file(path: Path) -> None:
    """Force a file's content and its name in the folder to disk. Raises OSError."""
    for place in (path, path.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def empty_file(field: str) -> Invalid:
    return Invalid("The file is empty.", errors=(FieldError(field, "The file is empty."),))


def _abandon(file: BinaryIO, path: Path) -> None:
    with contextlib.suppress(OSError):
        file.close()
    path.unlink(missing_ok=True)


def _write(file: BinaryIO, digest: Any, block: bytes) -> None:
    digest.update(block)
    file.write(block)


def _finish(file: BinaryIO, digest: Any, block: bytes, folder: Path) -> None:
    _write(file, digest, block)
    file.close()
    settle_file(folder / Path(file.name).name)
