"""A webhook receiver on threads, for tests that drive a gateway in a process of its own."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from patience import PATIENCE_S
from running import until


class Post(msgspec.Struct):
    """One POST as it came; `headers` have lower-case names."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        return json.loads(self.body)

    @property
    def event_id(self) -> int:
        return int(self.headers["webhook-id"])


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A gateway that is killed leaves its connections in the middle."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Hook:
    """Keeps every POST and answers `status`, with `answer` as body, as soon as `may_answer` is set; with
    `retry_after_s` it names the time of the next attempt, so that none comes by itself meanwhile."""

    def __init__(self, status: int = 200, answer: bytes = b"", retry_after_s: int | None = None) -> None:
        self.status = status
        self.posts: list[Post] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.posts.append(Post({n.lower(): v for n, v in self.headers.items()}, body))
                hook.may_answer.wait()
                self.send_response(hook.status)
                self.send_header("content-length", str(len(answer)))
                if retry_after_s is not None:
                    self.send_header("retry-after", str(retry_after_s))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def run(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()

    def events(self) -> list[Any]:
        """Every event so far, repeats included."""
        return [post.event for post in list(self.posts)]

    def event_ids(self) -> set[int]:
        return {post.event_id for post in list(self.posts)}

    def wait(self, what: str, fits: Callable[[Any], bool], timeout_s: float = PATIENCE_S) -> Any:
        """The first event that fits, as soon as there is one."""
        return until(what, lambda: next((e for e in self.events() if fits(e)), None), timeout_s)

    def text(self, text: str, timeout_s: float = PATIENCE_S) -> Any:
        """The data of the first received message with that text."""

        def fits(event: Any) -> bool:
            return bool(event["event"] == "message.received" and event["data"].get("text") == text)

        return self.wait(text, fits, timeout_s)["data"]


@contextmanager
def receiving(status: int = 200, answer: bytes = b"", retry_after_s: int | None = None) -> Iterator[Hook]:
    """A receiver for the length of a `with` block."""
    hook = Hook(status, answer, retry_after_s)
    thread = threading.Thread(target=hook.run, name="hook", daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.close()
        thread.join()
