"""X6: canaries through every path; then everything that was written is searched for them."""

import base64
import json
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from browser import Browser
from canaries import Cage, canary, files, sightings
from commands import done
from hook import Hook, receiving
from loopback.patch import PATCH_REASON, can_patch
from loopback.server import LoopbackServer
from patience import PATIENCE_S
from running import Account, Running, until

OURS, THEIRS, STRANGER = "628133344455", "628166677788", "628199900011"


class Story:
    """Everything one gateway is made to do; every answer is kept."""

    def __init__(self, gateway: Running, hook: Hook, failing: Hook) -> None:
        self.gateway = gateway
        self.hook = hook
        self.failing = failing
        self.cage = Cage()
        self.refusals: dict[str, bytes] = {}
        self.answers: dict[str, bytes] = {}
        self.http = httpx.Client(base_url=gateway.url, timeout=PATIENCE_S)
        weakref.finalize(self, self.http.close)
        self.email = f"{self.cage.word('email')}@example.test"

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """A request with the account's key; the answer is kept by what it was."""
        if isinstance(body, (dict, list)):
            more["json"] = body
        elif body is not None:
            more["content"] = body
        answer = self.http.request(method, path, **more)
        kept = self.answers if answer.is_success else self.refusals
        kept[f"{len(kept)}: {method} {path} {answer.status_code}"] = answer.content
        return answer

    def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        answer = self.ask(method, path, body, **more)
        assert answer.is_success, answer.text
        return answer.json()

    def use_key(self, key: str) -> None:
        self.http.headers["X-API-Key"] = self.cage.secret(f"API key {len(self.cage.secrets)}", key)
        self.account = Account(self.gateway.url, key)

    def register(self) -> None:
        """In the browser, from another machine: wrong token, right token, wrong password, right password."""
        cage, lan = self.cage, "http://gateway.lan"
        token = cage.secret("setup token", (self.gateway.data / "setup-token").read_text("ascii").strip())
        password, newer = cage.secret("password"), cage.secret("new password")
        browser = Browser(self.gateway.url, Host="gateway.lan", Origin=lan)
        fields = {"email": self.email, "name": cage.word("account name"), "password": password}
        for given in ("wrong-token", token):
            browser.see("/register")
            page = browser.fill("/register", **fields, setup_token=given)
            assert password not in page.text
        assert page.headers["location"] == "/dashboard", page.text
        first = cage.secret("session cookie", browser.http.cookies["wa"])
        browser.see("/dashboard/devices")
        assert browser.fill("/logout").status_code == 303
        browser.see("/login")
        wrong = cage.secret("wrong password")
        assert wrong not in browser.fill("/login", email=self.email, password=wrong).text
        browser.sign_in(self.email, password)
        cage.secret("second session cookie", browser.http.cookies["wa"])
        assert first != browser.http.cookies["wa"]
        self._settings(browser, password, newer)
        browser.close()

    def _settings(self, browser: Browser, password: str, newer: str) -> None:
        path = "/dashboard/settings"
        for typed in (newer, password):
            page = browser.fill(f"{path}/reveal", password=typed)
        assert page.status_code == 303
        key = browser.see(path).text.partition('id="api-key"')[2].partition('value="')[2][:64]
        self.use_key(key)
        self.cage.word("form token", browser.csrf)
        again = {"new_password": newer, "new_password_again": newer}
        assert browser.fill(f"{path}/password", password=password, **again).status_code == 303

    def rotate(self) -> None:
        self.use_key(self.ok("POST", "/auth/rotate-key")["apiKey"])

    def watch(self) -> None:
        """Webhooks that work and fail, with secrets of the caller's, and one that may not be."""
        cage, key = self.cage, self.cage.word("URL token")
        for hook in (self.hook, self.failing):
            body = {
                "url": f"{hook.url}?token={key}",
                "secret": cage.secret(f"webhook secret {hook.status}"),
                "headers": {"Authorization": f"Bearer {cage.secret(f'webhook header {hook.status}')}"},
            }
            made = self.ok("POST", "/webhooks", body)["id"]
            self.ok("POST", f"/webhooks/{made}/test")
        rotated = self.ok("POST", f"/webhooks/{made}/rotate-secret")["secret"]
        cage.secret("rotated webhook secret", rotated)
        self.ok("POST", f"/webhooks/{made}/test")
        self.ask("POST", "/webhooks", {"url": f"http://169.254.169.254/?token={key}"})
        self.ask("POST", "/webhooks", {"url": self.hook.url, "secret": f"{cage.secret('bad secret')} ü"})
        header = cage.secret("bad header")
        self.ask("POST", "/webhooks", {"url": self.hook.url, "headers": {"X-Webhook-Event": header}})
        self.ask("POST", "/webhooks", {"url": self.hook.url, "headers": {"X-A": f"{header}\n"}})

    def scannable(self, device_id: str) -> None:
        """Wait for the QR code, which is a secret of the moment."""

        def shown() -> Any:
            answer = self.ask("GET", f"/devices/{device_id}/qr?format=json")
            return answer.json() if answer.is_success else None

        for n, part in enumerate(until("QR code", shown)["qr"].split(",")):
            if len(part) > 16:  # others are a version or a kind
                self.cage.word(f"part {n} of the QR code of {device_id}", part)

    def send(self, device_id: str, to: str) -> None:
        """Texts and files by every way in, once more each, and what is refused."""
        cage = self.cage
        keyed = {"Idempotency-Key": cage.word("idempotency key")}
        text = {"deviceId": device_id, "to": to, "text": cage.word("text")}
        for _ in range(2):
            assert self.ask("POST", "/messages/send-text", text, headers=keyed).is_success
        self.ask("POST", "/messages/send-text", {**text, "text": cage.word("other text")}, headers=keyed)
        file = base64.b64encode(cage.word("file").encode()).decode()
        media: dict[str, Any] = {"deviceId": device_id, "to": to, "kind": "document"}
        media |= {"caption": cage.word("caption"), "filename": f"{cage.word('filename')}.txt"}
        self.ok("POST", "/messages/send-media", {**media, "base64": file})
        form = {"file": (f"{cage.word('form filename')}.txt", cage.word("form file").encode(), "text/plain")}
        assert self.ask("POST", "/messages/send-media", data=media, files=form).is_success
        for url in ("http://127.0.0.1:1", "http://no.such.host.invalid"):
            self.ask("POST", "/messages/send-media", {**media, "url": f"{url}/{cage.word('media URL')}"})

    def err(self, device_id: str) -> None:
        """Every refusal that a caller's mistake can bring, with canaries where the mistakes are."""
        text, secret = self.cage.word("mistake"), self.cage.secret("mistaken secret")
        body = {"deviceId": device_id, "to": text, "text": text}
        for wrong in (f'{{"text": "{text}"', [text], {text: text}, {**body, text: 1}, body):
            self.ask("POST", "/messages/send-text", wrong)
        headers = {"X-API-Key": secret}
        assert self.ask("GET", "/devices", headers=headers).status_code == 401
        assert self.ask("GET", "/devices", headers={"X-API-Key": "f" * 64}).status_code == 401
        for path in (f"/devices/{text}", f"/messages/{text}", f"/nowhere/{text}", f"/messages?text={text}"):
            assert not self.ask("GET", path).is_success
        assert self.ask("GET", f"/messages?q={text}").json()["items"] == []
        self.ask("POST", f"/healthz?{text}", {})
        bad = {"name": text, "proxy": f"gopher://u:{secret}@h:1"}
        assert self.ask("POST", "/devices", bad).status_code == 422
        assert self.ask("GET", f"/media/{text}?expires=1&signature={secret}").status_code == 404
        with httpx.Client(base_url=self.gateway.url) as other:
            assert other.get(f"/events?ticket={secret}").status_code == 401
            other.post("/login", content=f"password={secret}", headers={"Origin": self.gateway.url})

    def rehearse(self) -> None:
        """The refusals that are ours or WhatsApp's, on a sandbox device, and one that dies of its own."""
        device_id = self.account.device(self.cage.word("device name"))
        text = self.cage.word("rehearsed text")
        statuses = [
            self.ask(
                "POST", "/messages/send-text", {"deviceId": device_id, "to": to, "text": text}
            ).status_code
            for to in ("999000000022", "999000000063", "999000000053", "999000000057", "999000000007")
        ]
        assert statuses[:4] == [422, 409, 503, 507]
        path = f"/devices/{device_id}/sandbox"
        lost = {"kind": "image", "caption": self.cage.word("lost caption"), "failDownload": True}
        self.ok("POST", f"{path}/receive", {**lost, "pushName": self.cage.word("sandbox name")})
        self.ok("POST", f"{path}/receive", {"kind": "raw", "content": {"conversation": text}})
        self.ok("POST", f"{path}/state", {"status": "BANNED", "reason": self.cage.word("reason")})

    def stream(self) -> None:
        """A stream by ticket, opened before and used after the answer of a list."""
        ticket = self.cage.secret("ticket", self.ok("POST", "/events/ticket")["ticket"])
        with httpx.stream("GET", f"{self.gateway.url}/events", params={"ticket": ticket}) as stream:
            assert any("data:" in line for line in stream.iter_lines())

    def fetch(self) -> None:
        """A received file by its signed link, and by a link that was tampered with."""
        link = self.hook.wait("received file", lambda e: "url" in e["data"].get("media", {}))["data"]["media"]
        parts = urlsplit(link["url"])
        self.cage.word("signature", parts.query.partition("signature=")[2])
        assert self.ask("GET", f"{parts.path}?{parts.query}").is_success
        assert not self.ask("GET", f"{parts.path}?{parts.query}0").is_success

    def logs(self) -> dict[str, bytes]:
        return files([self.gateway.log, *self.gateway.data.glob("devices/*/worker.log")])

    def command_lines(self) -> dict[str, bytes]:
        """What every user of the machine can see of the gateway's processes."""
        group = str(self.gateway.process.pid)
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                if stat.read_text().rpartition(")")[2].split()[2] == group:
                    found[str(stat)] = stat.with_name("cmdline").read_bytes()
            except OSError:
                continue
        return found

    def search(self) -> None:
        """The proof: nothing was written where it may not stand, and the search would have found it."""
        cage, logs, data = self.cage, self.logs(), files([self.gateway.data])
        assert sightings(cage.secrets | cage.words, logs) == []
        assert sightings(cage.secrets | cage.words, self.command_lines()) == []
        assert sightings(cage.secrets, data) == []
        assert sightings(cage.secrets, self.refusals) == []
        stored = sightings({"text": cage.words["text"]}, data)
        assert any("gateway.db" in found for found in stored), "the text is in the database, and was not seen"
        for what, value in (cage.secrets | cage.words).items():
            planted = {"log": b"x" * 1000 + value.encode() + b"y" * 1000}
            assert sightings(cage.secrets | cage.words, planted) != [], what


@pytest.fixture
def hooks() -> Iterator[tuple[Hook, Hook]]:
    """One that takes everything, and one that refuses everything with an answer of its own."""
    with receiving() as good, receiving(500, b"a receiver's own trouble") as failing:
        yield good, failing


@pytest.fixture
def net(tmp_path: Path) -> Iterator[LoopbackServer]:
    with LoopbackServer(tmp_path / "net") as network:
        yield network


SETTINGS = {"logs.level": "debug", "webhooks.allow": ["loopback"], "limits.messages_per_minute": 0}


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    value = canary("planted")
    encoded = base64.b64encode(f"ab{value}cd".encode())
    for n, text in enumerate(
        (value.encode(), value.upper().encode(), value.encode().hex().encode(), encoded)
    ):
        (tmp_path / str(n)).write_bytes(b"before " + text + b" after")
    assert len(sightings({"planted": value}, files([tmp_path]))) == 4
    assert sightings({"planted": canary("another")}, files([tmp_path])) == []


def finish(story: Story) -> None:
    """What both stories end with: another account looks around, a crash, a restart, an orderly end."""
    other = story.gateway.account()
    answers = {
        path: other.http.get(path, headers={"Accept": "application/json"}).content
        for path in ("/devices", "/messages", "/webhooks", "/events?after=0", "/auth/me", "/metrics")
    }
    assert sightings(story.cage.secrets | story.cage.words, answers) == []
    everything = story.answers | story.refusals
    headers = {what: v for what, v in story.cage.secrets.items() if "header" in what or "proxy" in what}
    assert sightings(headers, everything) == []
    until("failing deliveries", lambda: len(story.failing.posts) > 2)
    for what in ("webhook header 200", "webhook header 500"):
        hook = story.hook if "200" in what else story.failing
        assert any(story.cage.secrets[what] in post.headers["authorization"] for post in hook.posts)
    backup = story.gateway.data.with_name("backup")
    phrase = {"WA_GATEWAY_BACKUP__PASSPHRASE": story.cage.secret("passphrase")}
    done("backup", backup, "--data-dir", story.gateway.data, environment=phrase)
    assert sightings(story.cage.secrets | story.cage.words, files([backup])) == []
    story.gateway.kill()
    story.search()  # the write-ahead log holds the newest pages now
    story.gateway.start()
    story.rotate()
    assert story.gateway.stop() == 0
    story.search()
    told = {json.loads(line).get("event") for line in story.gateway.logged().splitlines()}
    assert {"listening", "ready", "stopping", "stopped"} <= told


def test_nothing_is_written_that_may_not_be(start: Callable[..., Running], hooks: tuple[Hook, Hook]) -> None:
    story = Story(start(settings=SETTINGS), *hooks)
    story.register()
    story.rotate()
    story.watch()
    proxy = f"http://user:{story.cage.secret('proxy password')}@proxy.example:3128"
    made = story.ok("POST", "/devices", {"name": "s", "sandbox": True, "proxy": proxy})
    device_id = made["id"]
    story.ok("POST", f"/devices/{device_id}/connect")
    story.scannable(device_id)
    phone = {"phone": OURS, "pushName": story.cage.word("push name")}
    story.ok("POST", f"/devices/{device_id}/sandbox/scan", phone)
    story.account.connected(device_id)
    story.send(device_id, STRANGER)
    received = {
        "from": THEIRS,
        "text": story.cage.word("received"),
        "pushName": story.cage.word("their name"),
    }
    story.ok("POST", f"/devices/{device_id}/sandbox/receive", received)
    file = {"kind": "document", "base64": "eHh4", "filename": story.cage.word("received filename")}
    story.ok("POST", f"/devices/{device_id}/sandbox/receive", file)
    story.cage.phones(OURS, THEIRS, STRANGER)
    story.fetch()
    story.stream()
    story.err(device_id)
    story.rehearse()
    finish(story)


@pytest.mark.skipif(not can_patch(), reason=PATCH_REASON)
@pytest.mark.timeout(600)
def test_nothing_is_written_with_the_real_engine_either(
    net: LoopbackServer, start: Callable[..., Running], hooks: tuple[Hook, Hook]
) -> None:
    story = Story(start(settings=SETTINGS, environment=net.client_env()), *hooks)
    cage = story.cage
    net.add_account(OURS, cage.word("our name"))
    net.add_account(THEIRS, cage.word("their name"))
    story.register()
    story.watch()
    proxy = f"http://user:{cage.secret('proxy password')}@127.0.0.1:{urlsplit(net.proxy_url).port}"
    device_id = linked(story, net, proxy)
    story.send(device_id, THEIRS)
    net.on_phone(THEIRS, lambda phone: phone.wait_for(cage.words["text"]))
    hear(story, net)
    story.err(device_id)
    trouble(story, net, device_id)
    cage.phones(OURS, THEIRS)
    finish(story)


def linked(story: Story, net: LoopbackServer, proxy: str) -> str:
    """A device with a proxy of its own that showed a link code and was linked by QR code."""
    device_id = str(story.ok("POST", "/devices", {"name": "real", "proxy": proxy})["id"])
    story.ok("POST", f"/devices/{device_id}/connect")
    story.scannable(device_id)
    code = story.ok("POST", f"/devices/{device_id}/pair-code", {"phone": OURS})["code"]
    story.cage.word("link code", code)
    net.enter_link_code(OURS, code)
    story.account.connected(device_id)
    return device_id


def hear(story: Story, net: LoopbackServer) -> None:
    """Texts, a file, a group, and a message that nobody could open the first time."""
    cage = story.cage
    written = [cage.word("received text"), cage.word("spoiled text"), cage.word("group text")]
    net.on_phone(THEIRS, lambda phone: phone.send_text(OURS, written[0]))
    net.on_phone(THEIRS, lambda phone: phone.send_text(OURS, written[1], spoiled=True))
    group = net.on_phone(THEIRS, lambda phone: phone.create_group(cage.word("group name"), OURS))
    net.on_phone(THEIRS, lambda phone: phone.send_text(group, written[2]))
    name = f"{cage.word('received filename')}.txt"
    file = cage.word("received file").encode()
    net.on_phone(THEIRS, lambda phone: phone.send_media(OURS, "document", file, filename=name))
    for text in written:
        story.hook.wait("what was written", lambda e, text=text: e["data"].get("text") == text)  # type: ignore[misc]
    story.fetch()


def trouble(story: Story, net: LoopbackServer, device_id: str) -> None:
    """WhatsApp refuses, the connection is cut, main is killed amid messages, the proxy is wrong."""
    body = {"deviceId": device_id, "to": THEIRS, "text": story.cage.word("refused text")}
    for code in (479, 463):
        net.faults.ack_error = code
        assert not story.ask("POST", "/messages/send-text", body).is_success
    net.faults.clear()
    assert not story.ask("POST", "/messages/send-text", {**body, "to": STRANGER}).is_success
    net.drop(OURS)
    story.account.connected(device_id)
    late = story.cage.word("late text")

    def write(n: int) -> None:
        net.on_phone(THEIRS, lambda phone: phone.send_text(OURS, f"{late} {n}"))

    with ThreadPoolExecutor(2) as pool:
        writing = pool.map(write, range(40))
        until(
            "some of them", lambda: story.account.ok("GET", "/messages")["items"][0]["text"].startswith(late)
        )
        story.gateway.kill(group=False)
        list(writing)
    story.gateway.start()
    story.account.connected(device_id)
    story.hook.wait("the last of them", lambda e: e["data"].get("text") == f"{late} 39")
    wrong = f"http://user:{story.cage.secret('wrong proxy password')}@127.0.0.1:1"
    other = story.ok("POST", "/devices", {"name": "nowhere", "proxy": wrong})["id"]
    story.ok("POST", f"/devices/{other}/connect")
    log = story.gateway.data / "devices" / other / "worker.log"
    until("trouble with the proxy", lambda: log.exists() and b"library" in log.read_bytes())
