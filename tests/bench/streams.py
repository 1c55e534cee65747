"""S10: many clients follow an account's stream at one event a second; then a hundred of them stop reading
while large events flow.

python tests/bench/streams.py [clients] [stopped]
"""

import asyncio
import concurrent.futures
import multiprocessing
import os
import re
import resource
import socket
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.load import quantile
from processes import memory_kib
from running import Account, Running, running, until

SETTINGS = {"limits.messages_per_minute": 0, "logs.level": "warning"}
BEGINNING, EVENTS, EVERY_S = 3, 30, 1.0
"""The first few are not counted: some streams are still being opened then."""
LAST = "the last one"
P99_LIMIT_MS, STOPPED_LIMIT_MIB = 250, 1.0
WARM_UP, LARGE_EVENTS, LARGE_CHARS = 100, 400, 50_000
CATCH_UP_S = 180
_ID = re.compile(rb"^id: (\d+)$", re.MULTILINE)


class Heard(msgspec.Struct):
    """What one process of clients heard: for each event the clock's ms at which each client had it."""

    at_ms: dict[int, list[float]] = {}


def opening(account_key: str, path: str = "/events") -> bytes:
    head = f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {account_key}\r\n"
    return f"{head}Accept: text/event-stream\r\n\r\n".encode()


def listen(port: int, key: str, clients: int) -> Heard:
    """Follow with that many clients until each has heard the last event. In a process of its own."""
    return uvloop.run(_listen(port, key, clients))


async def _listen(port: int, key: str, clients: int) -> Heard:
    heard = Heard()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        writer.write(opening(key))
        line = b""
        while LAST.encode() not in line:
            line = await reader.readline()
            assert line, "the stream was ended"
            if line.startswith(b"id: "):
                heard.at_ms.setdefault(int(line[4:]), []).append(time.time() * 1000)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return heard


def receive(account: Account, device: str, text: str = "Halo!", count: int = 1) -> int:
    body = {"text": text, "count": count}
    return int(account.ok("POST", f"/devices/{device}/sandbox/receive", body)["eventId"])


def open_streams(account: Account) -> int:
    lines = account.http.get("/metrics").text.splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wa_gateway_event_streams "))


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_latency(gateway: Running, account: Account, device: str, clients: int) -> str:
    """From the event's time of writing to each client's hands, in ms."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        listening = pool.submit(partial(listen, gateway.port, account.key, clients))
        until("open streams", lambda: open_streams(account) >= clients, 60)
        for _ in range(BEGINNING):
            receive(account, device)
            time.sleep(EVERY_S)
        began, used = time.monotonic(), cpu_s(gateway.process.pid)
        numbers = []
        for n in range(EVENTS):
            time.sleep(max(0.0, began + n * EVERY_S - time.monotonic()))
            numbers.append(receive(account, device, LAST if n == EVENTS - 1 else "Halo!"))
        heard: Heard = listening.result(120)
        share = (cpu_s(gateway.process.pid) - used) / (time.monotonic() - began)
    written = {event["data"]["eventId"]: event["timestamp"] for event in events_of(account)}
    late = [at - written[no] for no in numbers for at in heard.at_ms[no]]
    assert len(late) == clients * EVENTS, "some were not told"
    return (
        f"{clients} clients, 1 event/s  {_times(late)}  (limit {P99_LIMIT_MS} ms)  CPU {share:.0%} of a core"
    )


def _times(late_ms: list[float]) -> str:
    p50, p99 = quantile(late_ms, 0.5), quantile(late_ms, 0.99)
    return f"p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  most {max(late_ms):6.1f} ms"


def events_of(account: Account) -> list[Any]:
    headers = {"Accept": "application/json"}
    items: list[Any] = []
    after = "0"
    while True:
        page = account.ok("GET", "/events", params={"after": after, "limit": 200}, headers=headers)
        if not page["items"]:
            return items
        items += page["items"]
        after = page["nextCursor"]


class Stopped:
    """Clients that ask for the stream, read its beginning and then nothing, until they read on."""

    def __init__(self, port: int, key: str, count: int) -> None:
        self.sockets = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(count)]
        for each in self.sockets:
            each.sendall(opening(key))
            each.recv(4096)

    def heard(self, last: int, deadline_s: float) -> list[list[int]]:
        """The event numbers each of them has been told once they read on, up to `last`."""
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda each: _numbers(each, last, deadline_s), self.sockets))

    def close(self) -> None:
        for each in self.sockets:
            each.close()


def _numbers(client: socket.socket, last: int, deadline_s: float) -> list[int]:
    client.settimeout(deadline_s)
    found: list[int] = []
    tail = b""
    while not found or found[-1] < last:
        got = client.recv(1 << 18)
        if not got:
            return found
        whole, newline, tail = (tail + got).rpartition(b"\n")
        found += [int(no) for no in _ID.findall(whole + newline)]
    return found


def measure_stopped(gateway: Running, account: Account, device: str, stopped: int) -> list[str]:
    """Memory beside clients that have stopped reading, a quick client's delay, and the catching up."""
    pid = gateway.process.pid
    quick: list[float] = []
    following = threading.Thread(target=_follow, args=(gateway.port, account.key, quick))
    text = "z" * LARGE_CHARS
    for _ in range(WARM_UP):
        receive(account, device, text)
    clients = Stopped(gateway.port, account.key, stopped)
    until("open streams", lambda: open_streams(account) >= stopped, 60)
    following.start()
    until("open streams", lambda: open_streams(account) > stopped, 60)
    before = most = memory_kib(pid, "Rss")
    numbers = []
    for n in range(LARGE_EVENTS):
        numbers.append(receive(account, device, LAST if n == LARGE_EVENTS - 1 else text))
        most = max(most, memory_kib(pid, "Rss"))
    following.join(120)
    written = {e["data"]["eventId"]: e["timestamp"] for e in events_of(account)}
    late = [at - written[no] for no, at in zip(numbers, quick, strict=True)]
    began = time.monotonic()
    heard = clients.heard(numbers[-1], CATCH_UP_S)
    took = time.monotonic() - began
    whole = sum(told == numbers for told in heard)
    clients.close()
    each = (most - before) / 1024 / stopped
    flowed = LARGE_EVENTS * LARGE_CHARS / 1e6
    return [
        f"{stopped} stopped, {flowed:.0f} MB flow  +{each:.2f} MiB RSS each  (limit {STOPPED_LIMIT_MIB} MiB)",
        f"a quick client beside them   {_times(late)}",
        f"{whole} of {stopped} were told everything, in order, once they read on: {took:.1f} s",
    ]


def _follow(port: int, key: str, at_ms: list[float]) -> None:
    heard = listen(port, key, 1)
    at_ms += [heard.at_ms[no][0] for no in sorted(heard.at_ms)]


def main(clients: int, stopped: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * clients + 200)), hard))
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "data", settings=SETTINGS) as gateway,
    ):
        account = gateway.account()
        device = account.device()
        print(measure_latency(gateway, account, device, clients), flush=True)
        for line in measure_stopped(gateway, account, device, stopped):
            print(line, flush=True)


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*(given + [500, 100][len(given) :]))
