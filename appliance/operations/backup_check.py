"""Reading a backup from its beginning to its end, which is the only way to know that it is whole."""

from collections.abc import Callable

from appliance.operations.archive import ArchiveDamaged, Member, members
from appliance.operations.contents import DATABASE, KEY, LaterFormat, Note, OtherFile, is_known, read_note
from appliance.operations.sealed_file import Damaged, NotSealed, SealedReader, WrongPassphrase

UNREADABLE = (NotSealed, WrongPassphrase, Damaged, ArchiveDamaged, LaterFormat, OtherFile)


def read_through(
    sealed: SealedReader, told: Callable[[int], None], take: Callable[[Member], None] = lambda _: None
) -> Note:
    """The backup's note, when everything in it has been read and is what it was. `take` is given each file as
    it passes by: what it was given counts only when this returns. Raises UNREADABLE, OSError."""
    passing = members(_Counted(sealed, told))
    first = next(passing, None)
    if first is None:
        raise ArchiveDamaged("it is empty")
    note = read_note(first)
    missing = {DATABASE, KEY}
    for member in passing:
        if not is_known(member.name):
            raise ArchiveDamaged(f"a file is named {member.name!r}")
        missing.discard(member.name)
        take(member)
    if missing:
        raise ArchiveDamaged(f"there is no {missing.pop()}")
    return note


def why(error: Exception) -> str:
    """What to tell people of one of UNREADABLE."""
    match error:
        case WrongPassphrase():
            return "the passphrase is not the one that it was sealed with."
        case NotSealed():
            return "this is no backup of WA Gateway, or one of a later version."
        case OtherFile():
            return "this is no backup; what `wa-gateway export` made is taken in by `wa-gateway import`."
        case LaterFormat():
            return "a later version of WA Gateway made this backup, and that version is needed to restore it."
        case _:
            return "the file is damaged: it was cut short or changed after it was made."


class _Counted:
    """Tells how much was read."""

    def __init__(self, source: SealedReader, told: Callable[[int], None]) -> None:
        self._source = source
        self._told = told

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._told(len(data))
        return data
