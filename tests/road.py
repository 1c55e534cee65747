"""What the main road passes: a webhook receiver, and a real device linked on the loopback network."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from loopback.server import LoopbackServer
from running import Account, until


class Hook:
    """A webhook receiver on a thread of its own that answers 200 and keeps what it was sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                outer.bodies.append(json.loads(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/wa/webhook"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(
        self, what: str, fits: Callable[[dict[str, Any]], bool], timeout_s: float = 15
    ) -> dict[str, Any]:
        """The data of the first event whose body fits."""

        def find() -> dict[str, Any] | None:
            return next((body["data"] for body in list(self.bodies) if fits(body)), None)

        found: dict[str, Any] = until(f"webhook: {what}", find, timeout_s)
        return found

    def text(self, text: str, timeout_s: float = 15) -> dict[str, Any]:
        """The data of the first received message with that text."""
        return self.wait(
            text, lambda b: b["event"] == "message.received" and b["data"].get("text") == text, timeout_s
        )


def link_by_qr(net: LoopbackServer, account: Account, number: str) -> str:
    """A new real device, linked by the QR code that it shows, and connected; its id."""
    device_id = str(account.ok("POST", "/devices", {"name": f"real {number}"})["id"])
    account.ok("POST", f"/devices/{device_id}/connect")

    def shown() -> Any:
        answer = account.http.get(f"/devices/{device_id}/qr", params={"format": "json"})
        return answer.json() if answer.status_code == 200 else None

    net.scan(number, until("QR code", shown)["qr"])
    account.connected(device_id)
    return device_id
