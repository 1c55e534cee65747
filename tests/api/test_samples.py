"""The documents' samples, run as they stand against a real gateway; PHP where it is installed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from description import DOCS
from running import Account, free_port, until

from appliance.api.docs_markup import SAMPLE_LANGUAGES

SAMPLES = DOCS / "samples"
RUNNERS = {".sh": "bash", ".mjs": "node", ".py": sys.executable, ".php": "php"}
SAMPLE_S = 60.0
PASTED_KEY = "<your-64-char-hex-key>"
LEAVING_STREAMS = 'curl() { command curl --max-time 3 "$@" || [ $? = 28 ]; }'
LANGUAGES = [
    pytest.param(end, marks=pytest.mark.skipif(shutil.which(program) is None, reason=f"no {program}"))
    for end, program in RUNNERS.items()
]
in_each_language = pytest.mark.parametrize("end", LANGUAGES)


def environment(account: Account, device: str, url: str = "") -> dict[str, str]:
    return {"API": f"{url or account.url}/api", "KEY": account.key, "DEVICE": device}


class Sample:
    """A sample's process; `lines` is what it has printed so far."""

    def __init__(self, command: Sequence[str], given: Mapping[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **given},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def prints(self, text: str) -> str:
        """The first line with that text, as soon as there is one."""
        return str(until(text, lambda: next((line for line in self.lines if text in line), ""), SAMPLE_S))

    def result(self) -> tuple[int, str]:
        """How it ended by itself: its exit code and all it printed."""
        code = self._process.wait(SAMPLE_S)
        self._reader.join(SAMPLE_S)
        return code, "".join(self.lines)

    def end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(SAMPLE_S)
        self._reader.join(SAMPLE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)


@contextmanager
def sample(
    name: str,
    end: str,
    given: Mapping[str, str],
    folder: Path,
    words: Sequence[str] = (),
    options: Sequence[str] = (),
) -> Iterator[Sample]:
    """The sample while it runs; `options` are for what runs it, `words` for itself."""
    running = Sample([RUNNERS[end], *options, str(SAMPLES / f"{name}{end}"), *words], given, folder)
    try:
        yield running
    finally:
        running.end()


def result(name: str, end: str, given: Mapping[str, str], folder: Path, *words: str) -> tuple[int, str]:
    with sample(name, end, given, folder, words) as running:
        return running.result()


@in_each_language
def test_a_device_is_linked(account: Account, tmp_path: Path, end: str) -> None:
    code, said = result("link-device", end, environment(account, ""), tmp_path)
    assert code == 0, said
    [device] = account.ok("GET", "/devices")["items"]
    assert device["status"] == "CONNECTED"
    assert device["id"] in said


@in_each_language
def test_a_text_is_sent(account: Account, tmp_path: Path, end: str) -> None:
    code, said = result("send-text", end, environment(account, account.device()), tmp_path)
    assert code == 0, said
    [message] = account.ok("GET", "/messages")["items"]
    assert message["text"] == "Halo!"
    assert message["id"] in said


@in_each_language
def test_a_file_is_sent(account: Account, tmp_path: Path, end: str) -> None:
    invoice = b"%PDF-1.4\n%an invoice\n%%EOF\n"
    (tmp_path / "invoice.pdf").write_bytes(invoice)
    code, said = result("send-media", end, environment(account, account.device()), tmp_path)
    assert code == 0, said
    [message] = account.ok("GET", "/messages")["items"]
    assert (message["kind"], message["text"]) == ("document", "Your invoice")
    sent = message["content"]["documentMessage"]
    assert sent["fileName"] == "invoice.pdf"
    assert sent["fileLength"] == str(len(invoice))


@in_each_language
def test_messages_are_searched_page_by_page(account: Account, tmp_path: Path, end: str) -> None:
    device = account.device()
    wanted = {f"The invoice of October {number}" for number in range(60)}
    for text in [*wanted, "An invoice of May"]:
        account.ok("POST", f"/devices/{device}/sandbox/receive", {"text": text})
    code, said = result("search-messages", end, environment(account, device), tmp_path)
    assert code == 0, said
    found = set(re.findall(r"The invoice of October \d+", said))
    # One request of curl's is one page.
    assert len(found) == 50 if end == ".sh" else found == wanted
    assert "of May" not in said


class Hurdles:
    """A road to the gateway on which the first answer gets lost and the second request is one too many."""

    def __init__(self, account: Account, refusal: httpx.Response) -> None:
        self.keys: list[str] = []
        hurdles = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hurdles.keys.append(self.headers["idempotency-key"])
                if len(hurdles.keys) == 2:
                    self.give(refusal, {"Retry-After": "1"})
                    return
                names = ("content-type", "idempotency-key")
                headers = {name: self.headers[name] for name in names}
                answer = account.http.post(self.path, content=body, headers=headers)
                if len(hurdles.keys) > 1:
                    self.give(answer, {})

            def give(self, answer: httpx.Response, headers: Mapping[str, str]) -> None:
                self.send_response(answer.status_code)
                for name, value in {**headers, "Content-Length": str(len(answer.content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def hurdles(account: Account, refusal: httpx.Response) -> Iterator[Hurdles]:
    road = Hurdles(account, refusal)
    thread = threading.Thread(target=road.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield road
    finally:
        road.server.shutdown()
        road.server.server_close()
        thread.join()


@in_each_language
def test_a_message_is_sent_once_over_a_bad_road(account: Account, tmp_path: Path, end: str) -> None:
    """The answer to the first request is lost, the second is told to wait, the third is answered."""
    device = account.device()
    body = {"deviceId": device, "to": "999000000029", "text": "Halo!"}
    refusal = account.http.post("/messages/send-text", json=body)
    assert refusal.status_code == 429
    with hurdles(account, refusal) as road:
        code, said = result("send-once", end, environment(account, device, road.url), tmp_path)
    assert code == 0, said
    assert road.keys == ["order-1042-paid"] * 3
    [message] = account.ok("GET", "/messages")["items"]
    assert message["id"] in said


@pytest.mark.parametrize("end", LANGUAGES[1:])
def test_what_cannot_succeed_is_not_repeated(account: Account, tmp_path: Path, end: str) -> None:
    given = environment(account, account.device())
    _, said = result("send-once", end, given, tmp_path, "999000000022")
    assert "not_on_whatsapp" in said


@in_each_language
@pytest.mark.parametrize("name", ["stream-events", "poll-events"])
def test_events_are_followed(account: Account, tmp_path: Path, end: str, name: str) -> None:
    device = account.device()
    with sample(name, end, environment(account, device), tmp_path) as following:
        following.prints("status")
        # One request of curl's is one page.
        if (name, end) != ("poll-events", ".sh"):
            for text in ("first", "second"):
                account.ok("POST", f"/devices/{device}/sandbox/receive", {"text": text})
                following.prints(text)


@pytest.mark.parametrize("end", LANGUAGES[1:])
def test_webhooks_are_verified(account: Account, tmp_path: Path, end: str) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/wa/webhook"
    device = account.device()
    webhook: Any = account.ok("POST", "/webhooks", {"url": url, "events": ["message.received"]})
    given = {"WEBHOOK_SECRET": webhook["secret"], "PORT": str(port)}
    # PHP's own web server stands around a file that answers one request.
    options = ["-S", f"127.0.0.1:{port}"] if end == ".php" else []
    with sample("verify-webhook", end, given, tmp_path, options=options) as receiving:
        until("refusal of a wrong signature", lambda: answer_to_a_forgery(url) == 401, SAMPLE_S)
        account.ok("POST", f"/devices/{device}/sandbox/receive", {"text": "Halo juga!"})
        assert "message.received" in receiving.prints("Halo juga!")
        path = f"/webhooks/{webhook['id']}/deliveries"
        until("delivery", lambda: account.ok("GET", path)["items"][0]["status"] == "delivered")


def answer_to_a_forgery(url: str) -> int:
    try:
        headers = {"Content-Type": "application/json", "X-Webhook-Signature": "0" * 64}
        return httpx.post(url, content=b"{}", headers=headers).status_code
    except httpx.TransportError:
        return 0


@pytest.mark.parametrize("page", ["/docs/quickstart.md", "/llms.txt"])
def test_the_lines_of_a_shell_work_one_after_the_other(account: Account, tmp_path: Path, page: str) -> None:
    """Everything that a page says to a shell, pasted into one; streams are left after a while."""
    invoice = tmp_path / "invoice.pdf"
    invoice.write_bytes(b"%PDF-1.4\n")
    if page == "/llms.txt":
        account.device()
    text = httpx.get(account.url + page).text
    lines = "".join(re.findall(r"^```sh.*?\n(.*?)^```", text, re.M | re.S)).replace(PASTED_KEY, account.key)
    script = tmp_path / "pasted.sh"
    script.write_text(f"set -e\n{LEAVING_STREAMS}\n{lines}")
    given = {"KEY": account.key}
    ran = subprocess.run(
        ["bash", script], cwd=tmp_path, env={**os.environ, **given}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    sent = {message["text"] for message in account.ok("GET", "/messages")["items"]}
    assert sent == ({"Halo!", "Halo juga!"} if "quickstart" in page else {"Halo!", "Your invoice"})
    [webhook] = account.ok("GET", "/webhooks")["items"]
    assert webhook["url"] == "https://example.com/wa/webhook"


def test_every_page_shows_samples_that_are_there() -> None:
    """Every sample stands on a page of both languages, and every page names samples that exist."""
    for language in ("en", "id"):
        named = {
            line
            for page in (DOCS / language).glob("*.md")
            for block in page.read_text("utf-8").split("```samples\n")[1:]
            for line in [block.partition("\n")[0]]
        }
        assert named == {file.stem for file in SAMPLES.iterdir() if file.suffix in SAMPLE_LANGUAGES}
