"""Files that came with messages."""

from enum import StrEnum

import msgspec


class MediaState(StrEnum):
    PENDING = "pending"
    """Known, not yet fetched from WhatsApp."""
    STORED = "stored"
    """On disk here."""
    FAILED = "failed"
    """It could not be fetched; `error` says why."""
    GONE = "gone"
    """It was here and retention has deleted it."""


class MediaFile(msgspec.Struct, kw_only=True):
    """A row of `media`. `size` bytes, `seconds` the play time; `source` is the engine's own note for
    fetching the file."""

    id: str
    account_id: str
    device_id: str
    kind: str
    mimetype: str
    size: int | None = None
    filename: str | None = None
    seconds: int | None = None
    source: bytes | None = None
    state: MediaState
    error: str | None = None
    created_at: int
