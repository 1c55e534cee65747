"""What `doctor` looks at of the gateway itself: files, address, database, backups, engine."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from appliance import data_dir
from appliance.config import Config
from appliance.engine.library_file import LibraryError, LibraryFile
from appliance.operations import config_warnings
from appliance.operations.doctor_machine import DAY_MS, existing
from appliance.operations.findings import Finding, Patient, bad, doubtful, good, mib
from appliance.store import backup
from appliance.store.look import look

BACKUP_LATE_MS = 2 * DAY_MS
REACH_S = 5.0
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_config(patient: Patient) -> Iterator[Finding]:
    """What the settings say that is allowed but hardly meant."""
    told = list(config_warnings.of(patient.config, patient.config_file))
    yield from (doubtful("config", warning.text, warning.advice) for warning in told)
    if not told:
        yield good("config", f"The configuration is good ({patient.config_file or 'no file'}).")


def check_files(patient: Patient) -> Iterator[Finding]:
    """Whether the data directory is there, ours to write to, and nobody else's to read."""
    folder = patient.config.data
    if not folder.exists():
        above = existing(folder)
        if above.is_dir() and os.access(above, os.W_OK):
            yield good("data_dir", f"{folder} is not there yet; the first start makes it.")
        else:
            advice = f"Make it for the gateway's user, or say another data_dir: {above} takes none."
            yield bad("data_dir", f"{folder} is not there and cannot be made.", advice)
        return
    owner = folder.stat().st_uid
    if os.geteuid() not in {0, owner}:
        yield bad("data_dir", f"{folder} belongs to user {owner}, not to you.", "Run this as that user.")
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield bad("data_dir", f"{folder} cannot be written.", "Mount it for writing, or chmod u+rwx it.")
    else:
        yield good("data_dir", f"{folder} can be written.")
    if data_dir.database_path(folder).exists() and not (folder / "secret.key").exists():
        advice = "Put it back from a backup: without it stored secrets cannot be read."
        yield bad("secret_key", f"{folder / 'secret.key'} is missing.", advice)
    yield from _open_to_others(folder)


def _open_to_others(folder: Path) -> Iterator[Finding]:
    if not folder.stat().st_mode & _OTHERS:
        yield good("permissions", "Nobody else can read the data directory.")
        return
    secret = [name for name in ("secret.key", "setup-token", "gateway.db") if (folder / name).exists()]
    exposed = [name for name in secret if (folder / name).stat().st_mode & _OTHERS]
    advice = f"chmod -R go-rwx {folder}"
    if exposed:
        yield bad("permissions", f"Others can read {', '.join(exposed)}.", advice)
    else:
        yield doubtful("permissions", "Others can look into the data directory.", advice)


def check_port(patient: Patient) -> Iterator[Finding]:
    """Whether the address can be listened on, or is listened on by this very gateway."""
    server = patient.config.server
    shown = f"{server.host}:{server.port}"
    if patient.is_running:
        yield good("port", f"The gateway runs (process {(patient.answer or {}).get('pid', '?')}) on {shown}.")
        return
    try:
        _listen(server.host, server.port)
    except OSError as error:
        advice = {
            errno.EADDRINUSE: "End what listens there, or set server.port.",
            errno.EACCES: "Ports below 1024 take a right of their own: choose a higher one.",
            errno.EADDRNOTAVAIL: "Set server.host to an address of this machine.",
        }
        reason = error.strerror or str(error)
        yield bad("port", f"{shown} cannot be listened on: {reason}.", advice.get(error.errno or 0, ""))
    else:
        yield good("port", f"{shown} is free.")


def _listen(host: str, port: int) -> None:
    family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)


def check_database(patient: Patient) -> Iterator[Finding]:
    """Whether the database is whole: the running gateway knows, else it is read through."""
    if patient.answer is not None:
        yield from _told_by_gateway(patient.answer)
        return
    path = data_dir.database_path(patient.config.data)
    if not path.exists():
        yield good("database", "There is no database yet; the first start makes it.")
        return
    seen = look(path)
    if seen.damage is None:
        yield good(
            "database", f"The database is whole ({mib(path.stat().st_size)}, devices: {seen.devices})."
        )
    else:
        yield bad(
            "database",
            f"The database is damaged: {seen.damage}.",
            "Start the gateway: it sets the file aside and takes the newest good backup.",
        )


def _told_by_gateway(answer: dict[str, object]) -> Iterator[Finding]:
    store = answer["store"]
    assert isinstance(store, dict)
    if store["diskLow"]:
        yield bad("database", "The gateway refuses messages: the disk is nearly full.", "Make room.")
    elif store["recovery"]:
        yield doubtful(
            "database",
            "A damaged database was replaced.",
            "Read the system page, keep what it names, then remove the files set aside.",
        )
    else:
        yield good("database", f"The gateway finds its database in order (devices: {answer['devices']}).")
    if store["backupFailed"]:
        yield bad("backup_made", "The last backup failed.", "The log says why: backup_failed.")


def check_backups(patient: Patient) -> Iterator[Finding]:
    """How old the newest backup is."""
    path = data_dir.database_path(patient.config.data)
    newest = next(iter(backup.stored(path)), None)
    daily = patient.config.backup.daily
    if newest is None:
        made_ms = int(path.stat().st_ctime * 1000) if path.exists() else patient.now_ms
        late = daily and path.exists() and patient.now_ms - _begun_ms(path, made_ms) > BACKUP_LATE_MS
        if late:
            yield doubtful(
                "backup", "There is no backup of the database.", "Let the gateway run: see its log."
            )
        else:
            yield good("backup", "There is no backup of the database yet.")
        return
    hours = (patient.now_ms - newest.at) / 3_600_000
    text = f"The newest backup of the database is {hours:.0f} hours old ({mib(newest.size)})."
    if daily and hours * 3_600_000 > BACKUP_LATE_MS:
        yield doubtful("backup", text, "Let the gateway run; its log says why a backup failed.")
    else:
        yield good("backup", text)


def _begun_ms(database: Path, otherwise: int) -> int:
    """When the data directory came to be, by the key that its first start made."""
    key = database.with_name("secret.key")
    return int(key.stat().st_mtime * 1000) if key.exists() else otherwise


def check_engine(_patient: Patient) -> Iterator[Finding]:
    """Whether the engine's library is byte for byte the one this program was written for."""
    try:
        LibraryFile.here().check()
    except LibraryError as error:
        yield bad("engine", f"WhatsApp's library cannot be used: {error}.", "Install the gateway again.")
    else:
        yield good("engine", "WhatsApp's library is the one this version was made with.")


def check_reach(patient: Patient) -> Iterator[Finding]:
    """Whether a TCP connection comes about, to the proxy where there is one; nothing is sent."""
    if patient.reach is None:
        return
    name, port, way = _way_out(patient.config, patient.reach)
    try:
        socket.create_connection((name, port), timeout=REACH_S).close()
    except (OSError, UnicodeError) as error:
        advice = "Let this machine connect there (firewall, DNS), or set engine.proxy."
        reason = getattr(error, "strerror", None) or error
        yield bad("whatsapp", f"{way} cannot be reached: {reason}.", advice)
    else:
        yield good("whatsapp", f"{way} can be reached.")


def _way_out(config: Config, address: str) -> tuple[str, int, str]:
    """Host, port, and what to call it: who we are at the proxy is told to nobody."""
    if config.engine.proxy is None:
        name, _, port = address.rpartition(":")
        return name.strip("[]"), int(port), address
    proxy = urlsplit(config.engine.proxy)
    return proxy.hostname or "", proxy.port or 0, f"The proxy {proxy.hostname}:{proxy.port}"
