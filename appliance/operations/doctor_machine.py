"""What `doctor` looks at on the machine: room, clock, names, memory, descriptors, versions."""

import ctypes
import datetime
import importlib.metadata
import os
import platform
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from appliance import __version__
from appliance.operations.findings import MIB, Finding, Patient, bad, doubtful, good, mib
from appliance.store.database import SQLITE_VERSION
from appliance.store.look import has_wal_reset_bug

ROOM_PROBLEM, ROOM_WARNING = 64 * MIB, 512 * MIB
FEW_INODES = 1000
MAIN_MIB, DEVICE_MIB = 100, 25
"""Memory that the main process and each session take when they are busy, rounded up."""
FILES_MAIN, FILES_DEVICE = 512, 8
OLDEST_GLIBC = (2, 34)
WRITTEN = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
"""No clock that is right shows a time before this program was written."""
DAY_MS = 24 * 3600 * 1000
_UNSYNCHRONISED = 0x0040
_FOREIGN = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "fuse.sshfs",
    "ceph",
    "glusterfs",
    "vboxsf",
    "drvfs",
}
_VOLATILE = {"tmpfs", "ramfs"}


def check_disk(patient: Patient) -> Iterator[Finding]:
    """Room, files that can still be made, and whether the filesystem is one that keeps a database."""
    folder = existing(patient.config.data)
    yield room(shutil.disk_usage(folder).free)
    inodes = os.statvfs(folder)
    if inodes.f_files and inodes.f_favail < FEW_INODES:
        yield bad("disk_files", f"The disk takes only {inodes.f_favail} more files.", "Delete small files.")
    yield _filesystem(folder)


def room(free: int) -> Finding:
    """What so many free bytes mean."""
    advice = "Delete something, set retention.max_mib, or move data_dir to a larger disk."
    if free < ROOM_PROBLEM:
        return bad("disk_room", f"Only {mib(free)} of disk are free.", advice)
    if free < ROOM_WARNING:
        return doubtful("disk_room", f"{mib(free)} of disk are free.", advice)
    return good("disk_room", f"{mib(free)} of disk are free.")


def _filesystem(folder: Path) -> Finding:
    kind = filesystem_of(folder, Path("/proc/self/mountinfo").read_text("utf-8", "replace"))
    if kind in _VOLATILE:
        return doubtful(
            "filesystem", f"data_dir is in memory ({kind}).", "A restart of the machine empties it: move it."
        )
    if kind in _FOREIGN:
        return bad(
            "filesystem",
            f"data_dir is on a filesystem of another machine ({kind}), which does not keep a database safe.",
            "Move data_dir to a disk of this machine.",
        )
    if kind == "overlay":
        return doubtful(
            "filesystem",
            "data_dir is in a container's own layer (overlay), which goes when the container is replaced.",
            "Mount a volume there.",
        )
    return good("filesystem", f"data_dir is on {kind or 'a filesystem of unknown kind'}.")


def filesystem_of(folder: Path, mounts: str) -> str:
    """The type of the filesystem that holds the folder, by the lines of /proc/self/mountinfo (proc(5)); empty
    when none does."""
    found, longest = "", -1
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(fields.split(" ")[4].encode().decode("unicode_escape"))
        if folder.resolve().is_relative_to(point) and len(point.parts) >= longest:
            found, longest = rest.split(" ")[0], len(point.parts)
    return found


def check_clock(patient: Patient) -> Iterator[Finding]:
    """Whether the time can be right, by what was written earlier, and whether something keeps it right."""
    now = datetime.datetime.fromtimestamp(patient.now_ms / 1000, datetime.UTC)
    advice = "Set it and have it kept by NTP: timedatectl set-ntp true."
    newest_ms = max((int(path.stat().st_mtime * 1000) for path in _written(patient.config.data)), default=0)
    if now < WRITTEN:
        yield bad("clock", f"The clock says {now:%Y-%m-%d}, before this program was written.", advice)
    elif newest_ms > patient.now_ms + DAY_MS:
        newest = datetime.datetime.fromtimestamp(newest_ms / 1000, datetime.UTC)
        text = f"The clock says {now:%Y-%m-%d %H:%M}, but files here were written on {newest:%Y-%m-%d}."
        yield doubtful("clock", text, advice)
    elif _is_unsynchronised():
        yield doubtful("clock", f"The clock says {now:%Y-%m-%d %H:%M} UTC; nothing keeps it right.", advice)
    else:
        yield good("clock", f"The clock says {now:%Y-%m-%d %H:%M} UTC.")


def _written(folder: Path) -> Iterator[Path]:
    for pattern in ("gateway.db", "gateway.db-wal", "backups/*.db"):
        yield from folder.glob(pattern)


def _is_unsynchronised() -> bool:
    """Whether the kernel says that no time server corrects the clock (adjtimex(2)); False when it cannot be
    asked."""
    asked = (ctypes.c_long * 64)()
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "adjtimex") or libc.adjtimex(ctypes.byref(asked)) < 0:
        return False
    # struct timex: modes (padded to a long), offset, freq, maxerror, esterror, status.
    return bool(asked[5] & _UNSYNCHRONISED)


def check_dns(_patient: Patient) -> Iterator[Finding]:
    """Whether name servers are configured; none is asked."""
    try:
        lines = Path("/etc/resolv.conf").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    servers = [line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1]
    if servers:
        yield good("dns", f"Names are looked up at {', '.join(servers)}.")
    else:
        yield doubtful("dns", "/etc/resolv.conf names no name server.", "Without one WhatsApp is not found.")


def check_memory(patient: Patient) -> Iterator[Finding]:
    """Memory, by what this machine or its container has, against what the devices want."""
    facts = _meminfo()
    total = min(facts["MemTotal"], _cgroup_limit() or facts["MemTotal"])
    devices = int((patient.answer or {}).get("devices", 0))
    wanted = (MAIN_MIB + DEVICE_MIB * devices) * MIB
    swap = f", swap {mib(facts['SwapTotal'])}" if facts["SwapTotal"] else ", no swap"
    text = f"{mib(total)} of memory{swap}, {mib(facts['MemAvailable'])} available"
    if total < wanted:
        yield bad(
            "memory",
            f"{text}; {devices} devices want about {mib(wanted)}.",
            "Give it more, or move devices to another machine.",
        )
    elif not patient.is_running and facts["MemAvailable"] < wanted:
        yield doubtful("memory", f"{text}.", f"The gateway wants about {mib(wanted)}: end something else.")
    else:
        yield good("memory", f"{text}.")


def _meminfo() -> dict[str, int]:
    lines = (line.split() for line in Path("/proc/meminfo").read_text("ascii").splitlines())
    return {fields[0].rstrip(":"): int(fields[1]) * 1024 for fields in lines}


def _cgroup_limit() -> int | None:
    """The memory that this process's cgroup may use, None without a limit (cgroups(7), both versions)."""
    for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            place = Path("/sys/fs/cgroup", group.lstrip("/"), "memory.max")
        elif controllers == "memory":
            place = Path("/sys/fs/cgroup/memory", group.lstrip("/"), "memory.limit_in_bytes")
        else:
            continue
        if place.is_file() and (text := place.read_text("ascii").strip()).isdecimal():
            return int(text)
    return None


def check_descriptors(patient: Patient) -> Iterator[Finding]:
    """How many files and connections may be open at once."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAIN + FILES_DEVICE * int((patient.answer or {}).get("devices", 0))
    if hard != resource.RLIM_INFINITY and hard < wanted:
        yield doubtful(
            "descriptors", f"At most {hard} files may be open at once.", f"Raise the limit to {wanted}."
        )
    else:
        yield good("descriptors", "As many files may be open at once as are needed.")


def check_versions(patient: Patient) -> Iterator[Finding]:
    """What runs here, and whether the system is new enough for the engine's library."""
    running = (patient.answer or {}).get("version", __version__)
    if running != __version__:
        yield doubtful(
            "version",
            f"This command is {__version__}, but the running gateway is {running}.",
            "Restart the gateway.",
        )
    engine, python = importlib.metadata.version("neonize"), platform.python_version()
    yield good("versions", f"WA Gateway {__version__}, Python {python}, neonize {engine}.")
    name, version = platform.libc_ver()
    if name == "glibc" and tuple(int(part) for part in version.split(".")[:2]) >= OLDEST_GLIBC:
        yield good("system", f"Linux {platform.release()}, {platform.machine()}, glibc {version}.")
    else:
        yield bad(
            "system",
            f"This system has {name or 'another C library'} {version}.",
            "WhatsApp's library needs glibc 2.34 or newer: Debian 12, Ubuntu 22.04, Raspberry Pi OS 12.",
        )
    if has_wal_reset_bug(SQLITE_VERSION):
        text = (
            f"SQLite {SQLITE_VERSION} has the WAL-reset bug, which takes two writers; "
            "the gateway writes by one connection only."
        )
        yield good("sqlite", f"{text} Let no other program write to the database.")
    else:
        yield good("sqlite", f"SQLite {SQLITE_VERSION} is free of the WAL-reset bug.")


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
