"""What a backup holds, by name, and the note that stands first in it."""

import re
import time

import msgspec

from appliance.operations.archive import ArchiveDamaged, Member

NOTE, DATABASE, KEY, CONFIG = "note.json", "gateway.db", "secret.key", "config.toml"
FORMAT = 1
SPOOL, SESSION = "spool", "session.db"
"""Of each device. Its session's database is copied last of all: the older the keys, the less can be read of
what was sent to it since."""

_LONGEST_NOTE = 64 * 1024
_ID = "c[0-9a-z]{24}"
_KNOWN = re.compile(
    rf"{NOTE}|{DATABASE}|{KEY}|{CONFIG}|media/{_ID}/[0-9a-z]{{2}}/{_ID}|devices/{_ID}/(?:spool|session\.db)",
    re.ASCII,
)


class Note(msgspec.Struct, frozen=True, rename="camel"):
    """When the backup was made (ms since 1970), by which version, of which schema, and about how large."""

    made_at: int
    version: str
    database_schema: int
    devices: int
    bytes: int
    format: int = FORMAT

    @property
    def made(self) -> str:
        """The time for people."""
        return f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(self.made_at / 1000))} UTC"


class LaterFormat(Exception):
    """The backup was made by a version that writes them otherwise."""


class OtherFile(Exception):
    """It is sealed as a backup is, and is none."""


def is_known(name: str) -> bool:
    """Whether a backup may hold a file of that name: nothing else is ever written where it says."""
    return _KNOWN.fullmatch(name) is not None


def read_note(member: Member) -> Note:
    """The note, from the archive's first member. Raises OtherFile, ArchiveDamaged, LaterFormat."""
    if member.name != NOTE:
        raise OtherFile
    if member.size > _LONGEST_NOTE:
        raise ArchiveDamaged("its note is too long")
    raw = b"".join(member.blocks)
    try:
        found = msgspec.json.decode(raw, type=_Format).format
        if found > FORMAT:
            raise LaterFormat
        return msgspec.json.decode(raw, type=Note)
    except msgspec.MsgspecError:
        raise ArchiveDamaged("its note cannot be read") from None


class _Format(msgspec.Struct, frozen=True):
    format: int
