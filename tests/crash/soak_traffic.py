"""The mixed traffic of the soak: people who do one thing each, over and over, well and badly."""

import base64
import contextlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from running import Account, Running

ANN = "628111222333"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SLOW_S, HANG_S = 1.0, 40.0
PASSWORD = "a long password"


class Endpoints:
    """Webhook receivers by path: `/good`, `/failing` (500), `/slow`, `/hanging` and `/cut`."""

    def __init__(self) -> None:
        stopping = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/cut":
                    self.close_connection = True
                    return
                stopping.wait({"/slow": SLOW_S, "/hanging": HANG_S}.get(self.path, 0.0))
                with contextlib.suppress(OSError):
                    self.send_response(500 if self.path == "/failing" else 200)
                    self.send_header("content-length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A gateway that gives up on us leaves in the middle."""

        self._stopping = stopping
        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def close(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Traffic:
    """Everybody at once, until `stop`. `answers` counts statuses; `faults` says what should not have been."""

    def __init__(self, gateway: Running, endpoints: Endpoints) -> None:
        self._gateway = gateway
        self._endpoints = endpoints
        self._ended = threading.Event()
        self.answers: Counter[int] = Counter()
        self.faults: list[str] = []
        self._owner = self._account()
        self._devices = [self._owner.device(f"d{n}") for n in range(3)]
        for name in ("good", "failing", "slow", "hanging", "cut"):
            only = {"deviceId": self._devices[0]} if name in {"hanging", "slow"} else {}
            self._owner.ok("POST", "/webhooks", {"url": endpoints.url(name), **only})
        people: list[tuple[Callable[[random.Random], None], float]] = [
            (self._send, 0.15),
            (self._write, 0.2),
            (self._exchange_files, 2.0),
            (self._follow, 0.5),
            (self._stop_reading, 1.0),
            (self._poll, 0.5),
            (self._come_and_go, 3.0),
            (self._lose_the_connection, 5.0),
            (self._sign_in, 7.0),
            (self._read_pages, 0.5),
            (self._hang_up, 0.5),
        ]
        self._threads = [
            threading.Thread(target=self._again, args=(act, pause_s, n), name=act.__name__)
            for n, (act, pause_s) in enumerate(people)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Everybody finishes what they are doing and goes."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._gateway.close()

    def _again(self, act: Callable[[random.Random], None], pause_s: float, seed: int) -> None:
        dice = random.Random(seed)
        while not self._ended.wait(pause_s * dice.uniform(0.5, 1.5)):
            try:
                act(dice)
            except (AssertionError, httpx.HTTPError, OSError) as error:
                self.faults.append(f"{act.__name__.strip('_')}: {type(error).__name__} {error}"[:300])

    def _account(self) -> Account:
        account = self._gateway.account()
        account.http.event_hooks["response"].append(self._count)
        return account

    def _count(self, answer: httpx.Response) -> None:
        self.answers[answer.status_code] += 1
        if answer.status_code >= 500 and answer.status_code != 503:
            self.faults.append(f"{answer.request.method} {answer.request.url.path}: {answer.status_code}")

    def _send(self, dice: random.Random) -> None:
        """Half of it is not waited for; now and then it is nonsense, or to a number that is not there."""
        to = dice.choice([ANN, ANN, "999000000001", "999000000002", "nonsense"])
        body = {"deviceId": dice.choice(self._devices), "to": to, "text": "x" * dice.randrange(1, 2000)}
        self._owner.http.post(
            "/messages/send-text", json=body, headers=dice.choice([{}, {"Prefer": "respond-async"}])
        )

    def _write(self, dice: random.Random) -> None:
        text, count = "y" * dice.choice([10, 100, 20_000]), dice.choice([1, 1, 1, 20])
        body = {"text": text, "count": count}
        self._owner.http.post(f"/devices/{dice.choice(self._devices)}/sandbox/receive", json=body)

    def _exchange_files(self, dice: random.Random) -> None:
        device = dice.choice(self._devices)
        body = {"deviceId": device, "to": ANN, "kind": "image", "base64": base64.b64encode(PNG).decode()}
        self._owner.http.post("/messages/send-media", json=body)
        received = self._owner.http.post(f"/devices/{device}/sandbox/receive", json={"kind": "image"})
        if received.status_code == 201:
            self._owner.http.get(f"/messages/{received.json()['id']}/media")

    def _follow(self, dice: random.Random) -> None:
        path = dice.choice(["/events", f"/devices/{dice.choice(self._devices)}/events"])
        after = {"Last-Event-ID": "1"} if dice.random() < 0.3 else {}
        with self._owner.http.stream("GET", path, headers=after) as answer:
            took = 0
            for chunk in answer.iter_raw():
                took += len(chunk)
                if took > 100_000 or dice.random() < 0.1 or self._ended.is_set():
                    return

    def _stop_reading(self, dice: random.Random) -> None:
        head = f"GET /events?lastEventId=1 HTTP/1.1\r\nHost: x\r\nX-API-Key: {self._owner.key}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self._gateway.port), 30) as client:
            client.sendall(head.encode())
            self._ended.wait(dice.uniform(1, 10))

    def _poll(self, dice: random.Random) -> None:
        newest = self._owner.http.get(
            "/events", params={"limit": 200}, headers={"Accept": "application/json"}
        )
        after = newest.json().get("nextCursor", "0")
        self._owner.http.get(
            "/events",
            params={"after": after, "wait": dice.choice([0, 1, 2])},
            headers={"Accept": "application/json"},
        )

    def _come_and_go(self, dice: random.Random) -> None:
        """A device and a webhook with a short life."""
        device = self._owner.device("short")
        hook = self._owner.ok("POST", "/webhooks", {"url": self._endpoints.url("good"), "deviceId": device})
        for _ in range(dice.randrange(5)):
            self._owner.send(device, ANN)
        self._owner.http.delete(f"/webhooks/{hook['id']}")
        self._owner.http.delete(f"/devices/{device}")

    def _lose_the_connection(self, dice: random.Random) -> None:
        path = f"/devices/{self._devices[2]}/sandbox/state"
        self._owner.ok("POST", path, {"status": "RECONNECTING"})
        self._ended.wait(dice.uniform(0, 2))
        self._owner.ok("POST", path, {"status": "CONNECTED"})

    def _sign_in(self, _dice: random.Random) -> None:
        """An account is made, signs in, looks at its pages, changes its key, and signs out."""
        email = f"{time.time_ns()}@example.test"
        account = self._gateway.account(email)
        with httpx.Client(base_url=self._gateway.url, follow_redirects=True, timeout=30) as browser:
            origin = {"Origin": self._gateway.url}
            form = {"csrf": _hidden(browser.get("/login")), "email": email, "password": PASSWORD}
            page = browser.post("/login", data=form, headers=origin)
            for path in ("/dashboard/messages", "/dashboard/webhooks", "/dashboard/settings"):
                page = browser.get(path)
                self._count(page)
            browser.post("/logout", data={"csrf": _hidden(page)}, headers=origin)
        account.ok("POST", "/auth/rotate-key")
        account.http.close()

    def _read_pages(self, dice: random.Random) -> None:
        paths = ["/messages?limit=50", "/devices", "/webhooks", "/docs", "/llms.txt", "/api/openapi.json"]
        self._owner.http.get(dice.choice(paths))

    def _hang_up(self, _dice: random.Random) -> None:
        """A request that is given up in its middle."""
        with socket.create_connection(("127.0.0.1", self._gateway.port), 30) as client:
            client.sendall(b"POST /messages/send-text HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")


def _hidden(page: httpx.Response) -> str:
    return page.text.partition('name="csrf" value="')[2].partition('"')[0]
