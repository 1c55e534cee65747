"""R5: one Idempotency-Key, one send; through parallel requests, kills and refusals."""

import base64
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from crash.kill_loop import OURS
from crash.mixed_traffic import THEIRS
from loopback.patch import PATCH_REASON, can_patch
from loopback.server import LoopbackServer
from patience import PATIENCE_S
from road import link_by_qr
from running import Account, Running, until

TEXT, MEDIA = "/messages/send-text", "/messages/send-media"
STAYS_SENT, NOBODY = "999000000001", "999000000022"
AT_ONCE = 100


class Asking:
    """An account that posts with keys."""

    def __init__(self, account: Account, device: str, to: str = STAYS_SENT) -> None:
        self.account = account
        self.device = device
        self.to = to
        limits = httpx.Limits(max_connections=AT_ONCE)
        headers = {"X-API-Key": account.key}
        self.http = httpx.Client(base_url=account.url, headers=headers, limits=limits, timeout=PATIENCE_S)
        weakref.finalize(self, self.http.close)

    def post(self, key: str, text: str = "once", path: str = TEXT, **more: Any) -> httpx.Response:
        body: dict[str, Any] = {"deviceId": self.device, "to": self.to, **more}
        if path.endswith(TEXT):
            body["text"] = text
        return self.http.post(path, json=body, headers={"Idempotency-Key": key})

    def together(self, posts: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
        """The answers to posts that begin at the same moment, each on a connection of its own."""
        gate = threading.Barrier(len(posts))

        def run(post: Callable[[], httpx.Response]) -> httpx.Response:
            gate.wait()
            return post()

        with ThreadPoolExecutor(len(posts)) as pool:
            return list(pool.map(run, posts))

    def texts(self) -> list[str]:
        """The texts of every message that was stored, newest first."""
        listed = self.account.ok("GET", "/messages", params={"limit": 200})["items"]
        return [message["text"] for message in listed]

    def sent_events(self, message_id: str) -> int:
        """How often it was told that this message was sent."""
        query = {"after": 0, "limit": 200, "types": "message.status"}
        told = self.account.ok("GET", "/events", params=query, headers={"Accept": "application/json"})
        return sum((e["data"]["id"], e["data"]["status"]) == (message_id, "sent") for e in told["items"])

    def remaining(self) -> int:
        limits = self.account.ok("GET", f"/devices/{self.device}")
        answer = self.http.post(TEXT, json={"deviceId": limits["id"], "to": self.to})
        assert answer.status_code == 422, answer.text
        return int(answer.headers["x-ratelimit-remaining"])


def is_replay(answer: httpx.Response) -> bool:
    return "idempotent-replayed" in answer.headers


def one_id(answers: list[httpx.Response]) -> str:
    """The one message that all of them are about."""
    assert {answer.status_code for answer in answers} <= {201, 202}
    [message_id] = {answer.json()["id"] for answer in answers}
    return str(message_id)


@pytest.fixture
def asking(account: Account) -> Asking:
    return Asking(account, account.device())


def test_a_hundred_at_once_are_one_send(asking: Asking) -> None:
    answers = asking.together([lambda: asking.post("key")] * AT_ONCE)
    message_id = one_id(answers)
    assert sum(not is_replay(answer) for answer in answers) == 1
    assert asking.texts() == ["once"]
    assert asking.sent_events(message_id) == 1
    assert asking.remaining() == 29


def test_repeats_at_once_need_no_tokens(start: Callable[..., Running]) -> None:
    account = start(settings={"limits.messages_per_minute": 1}).account()
    asking = Asking(account, account.device())
    one_id(asking.together([lambda: asking.post("key")] * AT_ONCE))
    assert asking.remaining() == 0


def test_of_different_contents_at_once_one_wins(asking: Asking) -> None:
    answers = asking.together([lambda n=n: asking.post("key", f"text {n % 4}") for n in range(40)])  # type: ignore[misc]
    [text] = asking.texts()
    for answer in answers:
        if answer.status_code == 422:
            assert answer.json()["code"] == "idempotency_key_reused"
        else:
            assert answer.json()["text"] == text
    assert sum(answer.is_success for answer in answers) == 10
    assert asking.remaining() == 29


def test_files_at_once_are_one_send(asking: Asking) -> None:
    file = base64.b64encode(b"one file").decode()
    posts = [lambda: asking.post("key", path=MEDIA, kind="document", base64=file)] * 20
    one_id(asking.together(posts))
    assert len(asking.texts()) == 1
    other = base64.b64encode(b"another").decode()
    changed = asking.post("key", path=MEDIA, kind="document", base64=other)
    assert changed.json()["code"] == "idempotency_key_reused"
    assert asking.post("key").json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    "change",
    [{"text": "twice"}, {"to": "999000000002"}, {"expiresIn": 60}, {"mentions": ["628111222333"]}],
)
def test_any_other_content_is_refused(asking: Asking, change: dict[str, Any]) -> None:
    assert asking.post("key").status_code == 201
    answer = asking.post("key", **change)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert asking.texts() == ["once"]


def test_what_means_the_same_is_a_repeat(asking: Asking) -> None:
    first = asking.post("key")
    for again in (
        asking.post("key", path=f"/api{TEXT}"),
        asking.post("key", mentions=[], replyTo="", expiresIn=86_400, dryRun=None),
    ):
        assert is_replay(again)
        assert again.json()["id"] == first.json()["id"]


def test_a_key_is_its_accounts_own(asking: Asking, shared: Running) -> None:
    other = shared.account()
    mine = asking.post("key").json()["id"]
    body = {"deviceId": other.device(), "to": STAYS_SENT, "text": "once"}
    theirs = other.http.post(TEXT, json=body, headers={"Idempotency-Key": "key"})
    assert theirs.status_code == 201
    assert not is_replay(theirs)
    assert theirs.json()["id"] != mine


def test_a_refusal_before_acceptance_stores_nothing(asking: Asking) -> None:
    key = "key"
    wrong = {"X-API-Key": "0" * 64, "Idempotency-Key": key}
    body = {"deviceId": asking.device, "to": STAYS_SENT, "text": "refused"}
    assert asking.http.post(TEXT, json=body, headers=wrong).status_code == 401
    for to, status in (("999000000029", 429), ("999000000053", 503), ("999000000057", 507), ("?", 422)):
        assert asking.post(key, "refused", to=to).status_code == status
    assert asking.post(key, "refused", deviceId="c" + "0" * 24).status_code == 404
    assert asking.post(key, "refused", replyTo="unknown").status_code == 422
    assert asking.post(key, "refused", dryRun=True).status_code == 200
    asking.account.ok("POST", f"/devices/{asking.device}/disconnect")
    assert asking.post(key, "refused").status_code == 409
    asking.account.ok("POST", f"/devices/{asking.device}/connect")
    asking.account.connected(asking.device)
    accepted = asking.post(key)
    assert (accepted.status_code, is_replay(accepted)) == (201, False)
    assert asking.texts() == ["once"]


def test_an_empty_bucket_refuses_new_keys_and_repeats_old_ones(asking: Asking) -> None:
    keys = [f"key-{n}" for n in range(30)]
    asking.together([lambda key=key: asking.post(key) for key in keys])  # type: ignore[misc]
    refused = asking.post("new", "refused")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    for key in keys:
        again = asking.post(key)
        assert (again.status_code, is_replay(again)) == (201, True)
        assert again.headers["x-ratelimit-remaining"] == "0"
    changed = asking.post(keys[0], "changed")
    assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused")
    assert asking.post("new", "refused").status_code == 429
    assert asking.texts() == ["once"] * 30


def test_a_kill_forgets_no_key(start: Callable[..., Running]) -> None:
    gateway = start()
    account = gateway.account()
    me = Asking(account, account.device())
    sent = me.post("sent").json()
    refusal = me.post("refused", to=NOBODY)
    assert (refusal.status_code, refusal.json()["code"]) == (422, "not_on_whatsapp")
    waiting = me.http.post(
        TEXT,
        json={"deviceId": me.device, "to": "999000000005", "text": "slow"},
        headers={"Idempotency-Key": "waiting", "Prefer": "respond-async"},
    ).json()
    for _ in range(2):
        gateway.kill()
        gateway.start()
        account.connected(me.device)
        again = me.post("sent")
        assert (again.status_code, is_replay(again), again.json()["id"]) == (201, True, sent["id"])
        assert again.json()["messageId"] == sent["messageId"]
        assert me.post("sent", "changed").json()["code"] == "idempotency_key_reused"
        repeated = me.post("refused", to=NOBODY)
        assert (repeated.status_code, is_replay(repeated)) == (422, True)
        assert repeated.json()["message"]["id"] == refusal.json()["message"]["id"]
        late = me.post("waiting", "slow", to="999000000005")
        assert (late.status_code in {201, 202}, late.json()["id"]) == (True, waiting["id"])
    assert sorted(me.texts()) == ["once", "once", "slow"]
    assert me.sent_events(sent["id"]) == 1


def killed_meanwhile(gateway: Running, me: Asking, ready: Callable[[], Any]) -> list[httpx.Response]:
    """A hundred posts at once, the gateway killed under them, and every one asked again until answered."""
    begun = threading.Event()

    def stubborn() -> httpx.Response:
        while True:
            try:
                begun.set()
                answer = me.post("key")
                if answer.status_code != 503:
                    return answer
            except httpx.TransportError:
                pass

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = [pool.submit(stubborn) for _ in range(AT_ONCE)]
        assert begun.wait(PATIENCE_S)
        ready()
        gateway.kill()
        gateway.start()
        return [answer.result() for answer in answers]


@pytest.mark.parametrize("moment", ["at once", "on disk", "sent"])
def test_a_kill_among_a_hundred_leaves_one_send(start: Callable[..., Running], moment: str) -> None:
    gateway = start()
    account = gateway.account()
    me = Asking(account, account.device())
    reached: dict[str, Callable[[], Any]] = {
        "at once": lambda: True,
        "on disk": me.texts,
        "sent": lambda: account.ok("GET", "/messages", params={"status": "sent"})["items"],
    }
    answers = killed_meanwhile(gateway, me, lambda: until(moment, reached[moment]))
    message_id = one_id(answers)
    assert me.texts() == ["once"]
    account.connected(me.device)
    until("end", lambda: answers_end(account, answers))
    assert me.sent_events(message_id) <= 1
    assert me.post("key").json()["id"] == message_id
    assert me.post("key", "changed").json()["code"] == "idempotency_key_reused"
    assert me.texts() == ["once"]


@pytest.fixture
def net(tmp_path: Path) -> Iterator[LoopbackServer]:
    with LoopbackServer(tmp_path / "net") as network:
        network.add_account(OURS, "Ours")
        network.add_account(THEIRS, "Theirs")
        yield network


@pytest.mark.skipif(not can_patch(), reason=PATCH_REASON)
def test_whatsapp_is_given_one_message(net: LoopbackServer, start: Callable[..., Running]) -> None:
    """The same on the real engine: its ledger counts every message that WhatsApp accepted."""
    settings = {"engine.proxy": net.proxy_url}
    gateway = start(settings=settings, environment=net.client_env())
    account = gateway.account()
    me = Asking(account, link_by_qr(net, account, OURS), to=THEIRS)
    one_id(me.together([lambda: me.post("first")] * AT_ONCE))
    net.on_phone(THEIRS, lambda phone: phone.wait_for("once"))
    assert len(net.ledger.ids(OURS)) == 1

    net.set_fault("ack_delay_s", 0.5)
    answers = killed_meanwhile(
        gateway, me, lambda: until("message at WhatsApp", lambda: len(taken(net)) == 2)
    )
    one_id(answers)
    account.connected(me.device)
    until("end", lambda: answers_end(account, answers))
    assert me.texts() == ["once", "once"]
    assert is_replay(me.post("first"))
    assert me.post("first", "changed").json()["code"] == "idempotency_key_reused"
    assert len(taken(net)) == 2
    assert len([m for m in net.phones[THEIRS].inbox if m.text == "once"]) == 2


def taken(net: LoopbackServer) -> set[str]:
    """The ids of our messages that WhatsApp has accepted."""
    return set(net.ledger.ids(OURS))


def answers_end(account: Account, answers: list[httpx.Response]) -> bool:
    message = account.ok("GET", f"/messages/{answers[0].json()['id']}")
    return message["status"] not in {"queued", "sending"}
