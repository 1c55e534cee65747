"""`export` and `import`: a linked device moves to another host, in one file sealed with a passphrase.

The device runs in one place at any time: the gateway here lets go of it before the file is made, and does not
connect it again unless `export --take-back` says that the file was never used.
"""

import argparse
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from appliance import __version__
from appliance.config import Config
from appliance.engine.library_file import VERSION as LIBRARY
from appliance.model.told import refused_by_system
from appliance.operations import passphrase
from appliance.operations.archive import ArchiveDamaged, ArchiveWriter, Member, members
from appliance.operations.asking import Refused, Unanswered, ask, refuse, say
from appliance.operations.drafted_file import drafted, force, part_of, settle
from appliance.operations.progress import Progress, megabytes
from appliance.operations.sealed_file import Damaged, NotSealed, SealedReader, SealedWriter, WrongPassphrase
from appliance.scratch import scratch
from appliance.store import copies

NOTE, SESSION = "device.json", "session.db"
FORMAT = 1
_LONGEST_NOTE = 64 * 1024
_ID = re.compile(r"c[0-9a-z]{24}", re.ASCII)


class Note(msgspec.Struct, frozen=True, rename="camel"):
    """What stands first in the file. `engine` is the version of WhatsApp's library that wrote the session."""

    export_id: str
    version: str
    engine: str
    identity: dict[str, Any]
    format: int = FORMAT


def run_export(config: Config, options: argparse.Namespace) -> int:
    """Carry out `export`; returns the exit code."""
    try:
        if options.take_back:
            _say_where(ask(config, "device-take-back", device=options.device), "is here again")
            say("Delete the file: where it was imported, both would be pushed out in turn.")
        elif options.file is None:
            raise Refused("say into which file: wa-gateway export DEVICE FILE.")
        else:
            _export(config, options.device, options.file, options.passphrase_file)
    except Refused as error:
        return refuse(error)
    except OSError as error:
        return refuse(refused_by_system(error, options.file))
    return 0


def run_import(config: Config, options: argparse.Namespace) -> int:
    """Carry out `import FILE`; returns the exit code."""
    try:
        phrase = passphrase.given(options.passphrase_file, None, new=False)
        with _staging(config.data) as session:
            note = _unpacked(options.file, phrase, session)
            _give_to_owner(config.data, session)
            details = {"exportId": note.export_id, "identity": note.identity, "session": str(session)}
            answer = ask(config, "device-take-in", **details, account=options.account)
    except Unanswered as error:
        return refuse(f"{error} Import the file once more: if the device is here by then, you are told.")
    except Refused as error:
        return refuse(f"nothing was imported: {error}")
    except NotSealed:
        return refuse(f"nothing was imported: {options.file} is no file of `wa-gateway export`.")
    except WrongPassphrase:
        return refuse("nothing was imported: that is not the passphrase.")
    except (Damaged, ArchiveDamaged):
        return refuse(f"nothing was imported: {options.file} is damaged, or is something else.")
    except OSError as error:
        return refuse(f"nothing was imported: {refused_by_system(error, options.file)}")
    _say_where(answer, "is here now")
    return 0


def _say_where(answer: dict[str, Any], text: str) -> None:
    how = "it is connecting" if answer["connecting"] else "it connects when the gateway starts"
    say(f"The device {answer['id']} ({answer['name']}) {text}; {how}.")


def _export(config: Config, device: str, file: Path, passphrase_file: Path | None) -> None:
    if file.exists():
        raise Refused(f"{file} is there already, and nothing is overwritten.")
    phrase = passphrase.given(passphrase_file, None, new=True)
    part = part_of(file)
    with drafted(part) as out:
        gone = _handed_over(config, device)
        try:
            _write(out, phrase, gone)
            _read_back(part, phrase)
            settle(part, file)
        except BaseException:
            part.unlink(missing_ok=True)
            _never_left(config, device, gone)
            raise
    say(f"{file}: {megabytes(file.stat().st_size)}, checked. The device no longer connects from here.")
    say("Take it to the other host:  wa-gateway import FILE")
    say(f"Was it never imported, then: wa-gateway export --take-back {device}")


def _handed_over(config: Config, device: str) -> dict[str, Any]:
    try:
        return ask(config, "device-hand-over", device=device)
    except (Unanswered, KeyboardInterrupt):
        # What was asked for goes on without us.
        say(f"No file was made. The device may be gone all the same: {_take_back(device)}")
        raise


def _take_back(device: str) -> str:
    return f"wa-gateway export --take-back {device} lets it run here again, or says that it never left."


def _never_left(config: Config, device: str, gone: dict[str, Any]) -> None:
    """There is no whole file, so the device need not be off; unless an earlier one may be somewhere."""
    if gone["again"]:
        say("The device stays moved: a file of it was made before.")
        return
    try:
        ask(config, "device-take-back", device=device)
    except Refused as error:
        say(f"No file was made, but the device may be gone: {error}\n{_take_back(device)}")
    else:
        say("No file was made, so the device stays here.")


def _write(out: BinaryIO, phrase: str, gone: dict[str, Any]) -> None:
    note = msgspec.json.encode(Note(gone["exportId"], __version__, LIBRARY, gone["identity"]))
    session = Path(gone["session"])
    size = session.stat().st_size
    progress = Progress("Writing", size)
    sealed = SealedWriter(out, phrase)
    with session.open("rb") as source, io.BytesIO() as sums:
        archive = ArchiveWriter(sealed, sums)
        archive.add(NOTE, io.BytesIO(note), len(note), lambda _: None)
        archive.add(SESSION, source, size, progress.advance)
        archive.finish()
    sealed.finish()
    force(out)
    progress.finish()


def _read_back(part: Path, phrase: str) -> None:
    """Raises Refused unless the file opens and is all there."""
    try:
        with part.open("rb") as source:
            for member in members(SealedReader(source, phrase)):
                for _ in member.blocks:
                    pass
    except (Damaged, ArchiveDamaged, NotSealed, WrongPassphrase):
        raise Refused("what was written could not be read back: is the disk sound?") from None


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Where the session is unpacked: beside the others, so that it can take its place in one step."""
    if not folder.is_dir():
        raise Refused(f"there is no gateway in {folder}: make an account first (wa-gateway user create).")
    with scratch(folder.absolute()) as staged:
        yield staged / SESSION


def _unpacked(file: Path, phrase: str, session: Path) -> Note:
    """Write the session out of the file and look whether it is whole. Raises what reading a sealed file does,
    Refused."""
    with file.open("rb") as source:
        progress = Progress("Reading", os.fstat(source.fileno()).st_size)
        found = members(SealedReader(source, phrase))
        note = _note(next(found, None))
        for member in found:
            if member.name != SESSION or session.exists():
                raise ArchiveDamaged(member.name)
            _unpack(member, session, progress.advance)
        progress.finish()
    if not session.exists() or (fault := copies.session_fault(session)) is not None:
        raise Refused(f"the session in it is damaged: {fault if session.exists() else 'missing'}.")
    return note


def _unpack(member: Member, target: Path, told: Callable[[int], None]) -> None:
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        for block in member.blocks:
            out.write(block)
            told(len(block))


def _note(member: Member | None) -> Note:
    if member is None or member.name != NOTE or member.size > _LONGEST_NOTE:
        raise ArchiveDamaged("note")
    try:
        note = msgspec.json.decode(b"".join(member.blocks), type=Note)
    except msgspec.MsgspecError:
        raise ArchiveDamaged("note") from None
    if note.format > FORMAT or _numbers(note.engine) > _numbers(LIBRARY):
        raise Refused(f"it was made by WA Gateway {note.version}, this is {__version__}: upgrade first.")
    if _ID.fullmatch(str(note.identity.get("id"))) is None:
        raise ArchiveDamaged("id")
    return note


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _give_to_owner(folder: Path, session: Path) -> None:
    """Where root types the command, the gateway's user must be able to take the file."""
    if os.geteuid() == 0:
        owner = folder.stat()
        for path in (session.parent, session):
            os.chown(path, owner.st_uid, owner.st_gid)
