"""R10: the database is damaged in every way a disk can, and the gateway starts all the same.

python tests/crash/corruption.py [cases, default 200] [seed]
"""

import contextlib
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from running import Account, Running, until

from appliance.store import backup
from appliance.store.opening import damage_of

PAGE = 4096
MESSAGES = 40
STARTS_MOST = 4
AS_LIST = {"Accept": "application/json"}
SETTINGS = {"limits.messages_per_minute": 0}
Damage = Callable[[Path, random.Random], None]


@dataclass
class Template:
    """A data directory to start cases from, its account's key, and the highest event number it was told."""

    data: Path
    key: str
    device: str
    last_event: int
    backed_up: bool


@dataclass
class Report:
    """What became of the cases; `faults` breaks a promise."""

    cases: int = 0
    roads: Counter[str] = field(default_factory=Counter)
    damages: Counter[str] = field(default_factory=Counter)
    keys_work: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    slowest_s: float = 0.0
    faults: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        roads = ", ".join(f"{road} {n} (key works {self.keys_work[road]})" for road, n in self.roads.items())
        return [
            f"cases {self.cases}: {', '.join(f'{name} {n}' for name, n in sorted(self.damages.items()))}",
            f"ended as: {roads}",
            f"starts repeated after damage was met while running: {self.restarts}",
            f"slowest until ready: {self.slowest_s:.1f} s",
            f"faults: {len(self.faults)}",
            *self.faults,
        ]


def truncate(path: Path, luck: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(luck.randrange(1, path.stat().st_size))


def flip(path: Path, luck: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(luck.randrange(1, 40)):
        data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)
    path.write_bytes(data)


def zero_pages(path: Path, luck: random.Random) -> None:
    _on_pages(path, luck, lambda _page: bytes(PAGE))


def scramble_pages(path: Path, luck: random.Random) -> None:
    _on_pages(path, luck, lambda _page: luck.randbytes(PAGE))


def swap_pages(path: Path, luck: random.Random) -> None:
    pages = _pages(path)
    if len(pages) > 1:
        a, b = luck.sample(range(len(pages)), 2)
        pages[a], pages[b] = pages[b], pages[a]
    path.write_bytes(b"".join(pages))


def empty(path: Path, _luck: random.Random) -> None:
    path.write_bytes(b"")


def garbage_header(path: Path, luck: random.Random) -> None:
    with path.open("r+b") as file:
        file.write(luck.randbytes(100))


def missing(path: Path, _luck: random.Random) -> None:
    path.unlink()


def _pages(path: Path) -> list[bytes]:
    data = path.read_bytes()
    return [data[at : at + PAGE] for at in range(0, len(data), PAGE)]


def _on_pages(path: Path, luck: random.Random, change: Callable[[bytes], bytes]) -> None:
    pages = _pages(path)
    for at in luck.sample(range(len(pages)), min(len(pages), luck.randrange(1, 8))):
        pages[at] = change(pages[at])
    path.write_bytes(b"".join(pages))


OF_FILE: tuple[Damage, ...] = (
    truncate,
    flip,
    zero_pages,
    scramble_pages,
    swap_pages,
    empty,
    garbage_header,
    missing,
)
OF_LOG: tuple[Damage, ...] = (truncate, flip, zero_pages, garbage_header)


def templates(folder: Path) -> list[Template]:
    """Directories stopped cleanly and killed, each with backups and without."""
    made = []
    for name, kills, backs_up in (("clean", False, True), ("bare", False, False), ("killed", True, True)):
        data = folder / name / "data"
        data.parent.mkdir()
        gateway = Running(data, SETTINGS).start()
        account = gateway.account("owner@example.test", admin=True)
        device = account.device()
        fill(account, device)
        if backs_up:
            backup.make(data / "gateway.db", 1_700_000_000_000)
        fill(account, device)
        last = last_number(data / "gateway.db")
        gateway.close()
        if kills:
            gateway.kill()
        else:
            gateway.stop()
        made.append(Template(data, account.key, device, last, backs_up))
    bare_killed = folder / "bare-killed" / "data"
    copied(made[2].data, bare_killed, "backups")
    made.append(Template(bare_killed, made[2].key, made[2].device, made[2].last_event, backed_up=False))
    return made


def copied(data: Path, to: Path, *without: str) -> None:
    shutil.copytree(data, to, ignore=shutil.ignore_patterns("control.sock", "ballast", *without))


def last_number(database: Path) -> int:
    """The highest event number that was given."""
    with contextlib.closing(backup.read_only(database)) as connection:
        return int(connection.execute("SELECT max(no) FROM events").fetchone()[0])


def fill(account: Account, device: str) -> None:
    for n in range(MESSAGES):
        body = {"deviceId": device, "to": f"6281234{n:05}", "text": f"Message {n} " * 20}
        account.ok("POST", "/messages/send-text", body, headers={"Prefer": "wait=0"})
    until("sent messages", lambda: not waiting(account))


def waiting(account: Account) -> list[Any]:
    return [m for m in account.every("/messages") if m["status"] in {"queued", "sending"}]


def case(template: Template, folder: Path, number: int, luck: random.Random, report: Report) -> None:
    """One copy of the template, damaged, started, looked at, stopped."""
    data = folder / f"case{number}" / "data"
    copied(template.data, data)
    database, log_file = data / "gateway.db", data / "gateway.db-wal"
    hits_log = log_file.exists() and log_file.stat().st_size > 0 and luck.random() < 0.4
    damage = luck.choice(OF_LOG if hits_log else OF_FILE)
    target = log_file if hits_log else database
    damage(target, luck)
    name = f"{damage.__name__} {'log' if hits_log else 'file'}"
    report.cases += 1
    report.damages[name] += 1
    before = {part.name: part.read_bytes() for part in (database, log_file) if part.exists()}
    gateway = Running(data, SETTINGS)
    try:
        faults = look(template, gateway, before, report)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the case's result)
        faults = [f"{type(error).__name__}: {str(error)[-1500:]}"]
    finally:
        gateway.close()
        with contextlib.suppress(AttributeError):
            code = gateway.stop()
    if not faults and code != 0:
        faults = [f"stopped with {code}"]
    if not faults and (left := damage_of(database, whole=True)) is not None:
        faults = [f"the next start would find: {left}"]
    report.faults += [f"case {number} ({name}, {template.data.parent.name}): {fault}" for fault in faults]
    if not faults:
        shutil.rmtree(data.parent)


def look(template: Template, gateway: Running, before: dict[str, bytes], report: Report) -> list[str]:
    """Start it, again if it ends because it met damage, and hold it to its promises."""
    for attempt in range(STARTS_MOST):
        started = monotonic()
        try:
            gateway.start()
            checked = promises(template, gateway, report)
        except (AssertionError, httpx.TransportError):
            if attempt == STARTS_MOST - 1 or not _ended_for_damage(gateway):
                raise
            report.restarts += 1
            continue
        break
    report.slowest_s = max(report.slowest_s, monotonic() - started)
    road, faults = checked
    report.roads[road] += 1
    if road != "unnoticed":
        faults += evidence(gateway.data, before, road)
    return faults


def _ended_for_damage(gateway: Running) -> bool:
    """As systemd would see it: exit code 1, after the log said why."""
    with contextlib.suppress(Exception):
        gateway.process.wait(15)
    return gateway.process.poll() == 1 and "store_lost" in gateway.logged()


def promises(template: Template, gateway: Running, report: Report) -> tuple[str, list[str]]:
    health = httpx.get(f"{gateway.url}/healthz", timeout=30).json()
    recovery = health["store"]["recovery"]
    road = recovery["road"] if recovery else "unnoticed"
    faults = []
    if recovery and health["status"] != "degraded":
        faults.append("it recovered, and /healthz says that all is well")
    if recovery and not any(said in gateway.logged() for said in ("database_recovered", "log_damaged")):
        faults.append("it recovered without a word in the log")
    account = Account(gateway.url, template.key)
    with contextlib.closing(account.http):
        paths = ("/auth/me", "/devices", "/messages", "/events?after=0")
        answers = [account.http.get(path, headers=AS_LIST) for path in paths]
        faults += [f"{a.url.path}: {a.status_code}" for a in answers if a.status_code >= 500]
        works = answers[0].status_code == 200
        report.keys_work[road] += works
        if road == "restored" and not works:
            faults.append("restored, and the account's key does not work")
        if template.backed_up and road in {"salvaged", "empty"}:
            faults.append(f"there was a good backup, and the database was {road}")
    newcomer = gateway.account()
    faults += still_numbers(newcomer, template.last_event)
    return road, faults


def still_numbers(account: Account, last: int) -> list[str]:
    """A new account can send, and its events have numbers that nobody has seen."""
    device = account.device()
    sent: Any = account.send(device, "6281234567890")
    events = account.ok("GET", "/events", params={"after": 0}, headers=AS_LIST)["items"]
    lowest = min(event["data"]["eventId"] for event in events)
    faults = [] if sent["status"] else ["a new account's message has no status"]
    return faults if lowest > last else [*faults, f"event number {lowest} was given again ({last})"]


def evidence(data: Path, before: dict[str, bytes], road: str) -> list[str]:
    kept = [part.read_bytes() for part in data.glob("gateway.db.corrupt-*")]
    wanted = {name: body for name, body in before.items() if road != "cut" or name.endswith("-wal")}
    return [f"the damaged {name} was not kept as it was" for name, body in wanted.items() if body not in kept]


def run(folder: Path, cases: int, seed: int) -> Report:
    luck, report = random.Random(seed), Report()
    made = templates(folder)
    for number in range(cases):
        case(made[number % len(made)], folder, number, luck, report)
    return report


def main(cases: int, seed: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="corruption-"))
    report = run(folder, cases, seed)
    print("\n".join(report.lines()))
    if report.faults:
        print(f"the cases with faults are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(given + [200, 1][len(given) :])))
