"""Another account's things are not there: every route, with every id that it takes, found from the routes
themselves."""

import base64
import importlib
import inspect
import itertools
import pkgutil
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import msgspec
import pytest
from browser import Browser
from hook import Hook, receiving
from running import Running, until

from appliance import api
from appliance.api.routes import API
from appliance.dashboard.routes import HANDLERS
from appliance.model.ids import new_id

PASSWORD = "a long password"  # that of Running.account
STAYS_SENT = "999000000001"
ANN = "628111222333"
_PARAMETER = re.compile(r"\{(\w+):(\w+)\}")

BODIES: Mapping[tuple[str, str], dict[str, Any]] = {
    ("PATCH", "/devices/{device_id:str}"): {"name": "stolen"},
    ("POST", "/devices/{device_id:str}/pair-code"): {"phone": ANN},
    ("PATCH", "/webhooks/{webhook_id:str}"): {"enabled": False},
    ("POST", "/webhooks/{webhook_id:str}/replay"): {"since": 0},
    ("POST", "/devices/{device_id:str}/sandbox/state"): {"status": "CONNECTED"},
    ("POST", "/devices/{device_id:str}/sandbox/receipt"): {"messageId": "3EB0", "status": "read"},
}
"""What a request needs besides its ids; other routes get `{}`."""

_FREE = {"page", "path", "name", "token"}
"""Path parameters of pages that are nobody's; an invitation's token is for whoever holds it."""


WRITERS = {"Ann": "628111222001", "Bob": "628111222002"}


class World:
    """An account with one of everything: `ids` by the name that path parameters have."""

    def __init__(self, gateway: Running, hook: Hook, name: str) -> None:
        self.name = name
        self.email = f"{time.time_ns()}@{name}.test"
        self.account = gateway.account(self.email)
        self.device = self.account.device(f"{name}s device")
        self.webhook = self.account.ok(
            "POST", "/webhooks", {"url": f"{hook.url}?of={name}", "secret": f"{name}s-own-secret-0001"}
        )["id"]
        self.sent = self.account.send(self.device, STAYS_SENT, f"{name}s secret plan")
        file = base64.b64encode(f"{name}s file".encode()).decode()
        self.received = self.account.ok(
            "POST",
            f"/devices/{self.device}/sandbox/receive",
            {
                "kind": "document",
                "base64": file,
                "filename": f"{name}s.txt",
                "messageId": "3EB0SHARED",
                "from": WRITERS[name],
            },
        )
        self.ticket = self.account.ok("POST", "/events/ticket", {"deviceId": self.device})["ticket"]
        self.deliveries = until("two deliveries made", self._delivered)
        [event] = [e for e in hook.events() if e["data"].get("id") == self.received["id"]]
        self.ids = {
            "account_id": [self.account.ok("GET", "/auth/me")["id"]],
            "device_id": [self.device],
            "chat": [self.received["remoteJid"]],
            "message_id": [self.sent["id"], self.sent["messageId"], self.received["id"]],
            "media_id": [event["data"]["media"]["id"]],
            "webhook_id": [self.webhook],
            "endpoint_id": [self.webhook],
            "delivery_id": [self.deliveries[0]],
        }
        self.marks = [f"{name}s", *itertools.chain(*self.ids.values()), self.email, self.ticket]

    def snapshot(self) -> Any:
        """Everything this account can see of itself."""
        ask = self.account.ok
        path = f"/webhooks/{self.webhook}"
        return (
            [ask("GET", p) for p in ("/auth/me", "/devices", "/messages", "/webhooks", f"{path}/deliveries")],
            [ask("GET", f"{path}/deliveries/{delivery}") for delivery in self.deliveries],
            ask("GET", "/events", params={"after": 0, "limit": 200}, headers={"Accept": "application/json"}),
            self.account.http.get(f"/messages/{self.received['id']}/media").content,
        )

    def _delivered(self) -> list[str] | None:
        items = self.account.ok("GET", f"/webhooks/{self.webhook}/deliveries")["items"]
        done = [d["id"] for d in items if d["status"] == "delivered"]
        return done if len(done) == len(items) == 2 else None


@pytest.fixture(scope="module")
def worlds(shared: Running) -> Iterator[tuple[World, World]]:
    """Ann's, who must not notice anything, and Bob's, who looks around."""
    with receiving() as hook:
        yield World(shared, hook, "Ann"), World(shared, hook, "Bob")


def routes(handlers: list[Any]) -> list[tuple[str, str]]:
    """Method and path of every route that takes an id in its path."""
    found = [(m, p) for h in handlers for p in sorted(h.paths) for m in sorted(h.http_methods)]
    return [(m, p) for m, p in found if _ids_in(p)]


def _ids_in(path: str) -> list[str]:
    return [name for name, _ in _PARAMETER.findall(path) if name not in _FREE]


def filled(path: str, ids: Mapping[str, str]) -> str:
    return _PARAMETER.sub(lambda found: ids[found[1]], path)


def foreign(path: str, mine: World, theirs: World) -> Iterator[tuple[str, str]]:
    """The path with every mixture of our ids and at least one of theirs; beside each the same path with
    invented ids in the place of theirs."""
    names = _ids_in(path)
    unknown = [name for name in names if name not in theirs.ids]
    assert not unknown, f"{path}: say in World what {unknown} is"
    for of_theirs in itertools.product((True, False), repeat=len(names)):
        if not any(of_theirs):
            continue
        choices = [theirs.ids[n] if t else mine.ids[n] for n, t in zip(names, of_theirs, strict=True)]
        for choice in itertools.product(*choices):
            ids = dict(zip(names, choice, strict=True))
            invented = {n: new_id() if t else ids[n] for n, t in zip(names, of_theirs, strict=True)}
            yield filled(path, ids), filled(path, invented)


def told(answer: httpx.Response) -> tuple[int, Any]:
    """What an answer says, without what differs from request to request."""
    problem = answer.json()
    return answer.status_code, {k: v for k, v in problem.items() if k != "requestId"}


def silent(answer: httpx.Response, asked: str, theirs: World) -> None:
    """The answer says nothing of theirs that the request had not said already."""
    said = [mark for mark in theirs.marks if mark in answer.text and mark not in asked]
    assert not said, f"{asked}: {answer.status_code} says {said}"


@pytest.mark.parametrize("mount", ["", "/api"])
@pytest.mark.parametrize(("method", "path"), routes(API))
def test_no_route_finds_what_is_anothers(
    worlds: tuple[World, World], method: str, path: str, mount: str
) -> None:
    ann, bob = worlds
    before = ann.snapshot()
    body = BODIES.get((method, path), {})
    for theirs, invented in foreign(path, bob, ann):
        for headers in ({}, {"Accept": "application/json"}, {"Accept": "text/event-stream"}):
            answer = bob.account.http.request(method, mount + theirs, json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), f"{method} {theirs}"
            assert answer.headers["content-type"].startswith("application/problem+json")
            silent(answer, theirs, ann)
            unknown = bob.account.http.request(method, mount + invented, json=body, headers=headers)
            assert told(answer) == told(unknown)
    assert ann.snapshot() == before


@pytest.mark.parametrize(("method", "path"), routes(API))
def test_a_wrong_body_learns_nothing_either(worlds: tuple[World, World], method: str, path: str) -> None:
    ann, bob = worlds
    if method == "GET":
        return
    for theirs, invented in foreign(path, bob, ann):
        for body in (b"", b"{", b"[]", b'{"nonsense": 1}'):
            answers = [bob.account.http.request(method, p, content=body) for p in (theirs, invented)]
            assert told(answers[0]) == told(answers[1])


@pytest.fixture
def browser(worlds: tuple[World, World], shared: Running) -> Iterator[Browser]:
    """Bob's."""
    visitor = Browser(shared.url)
    visitor.sign_in(worlds[1].email, PASSWORD)
    yield visitor
    visitor.close()


def test_no_page_shows_or_changes_what_is_anothers(worlds: tuple[World, World], browser: Browser) -> None:
    ann, bob = worlds
    before = ann.snapshot()
    found = routes(HANDLERS)
    assert len(found) > 10
    for method, path in found:
        for theirs, invented in foreign(path, bob, ann):
            if method == "GET":
                answers = [browser.see(p) for p in (theirs, invented)]
            else:
                fields = {"csrf": browser.csrf, "name": "stolen", "phone": ANN, "text": "stolen"}
                # The box that sends into a conversation takes a file as well.
                files = {"file": ("", b"")} if "{chat" in path else None
                answers = [browser.http.post(p, data=fields, files=files) for p in (theirs, invented)]
            assert [answer.status_code for answer in answers] == [404, 404], f"{method} {theirs}"
            silent(answers[0], theirs, ann)
    for page in ("/dashboard/devices", "/dashboard/messages", "/dashboard/webhooks", "/dashboard/settings"):
        silent(browser.see(page), page, ann)
    assert ann.snapshot() == before


NAMES_ANOTHER = re.compile(r"\w+_id|reply_to|target|ticket|cursor")

Ask = Callable[[World, str], httpx.Response]


def posting(path: str, field: str, body: Mapping[str, Any]) -> Ask:
    """Posts `body` with the other's id in `field`; the path may name our own things."""

    def ask(me: World, other_id: str) -> httpx.Response:
        where = path.format(device=me.device, webhook=me.webhook)
        method = "PATCH" if where == f"/webhooks/{me.webhook}" else "POST"
        whole = {k: v.format(device=me.device) if isinstance(v, str) else v for k, v in body.items()}
        return me.account.http.request(method, where, json={**whole, field: other_id})

    return ask


def getting(path: str, field: str) -> Ask:
    def ask(me: World, other_id: str) -> httpx.Response:
        accept = {"Accept": "application/json"}
        return me.account.http.get(path, params={field: other_id}, headers=accept)

    return ask


TEXT, FILE = {"to": STAYS_SENT, "text": "x"}, {"to": STAYS_SENT, "kind": "document", "base64": "eA=="}
RECEIVE = "/devices/{device}/sandbox/receive"
REFERENCES: Mapping[str, tuple[Ask, str, int]] = {
    "SendText.device_id": (posting("/messages/send-text", "deviceId", TEXT), "device_id", 404),
    "SendText.reply_to": (
        posting("/messages/send-text", "replyTo", {**TEXT, "deviceId": "{device}"}),
        "message_id",
        422,
    ),
    "SendMedia.device_id": (posting("/messages/send-media", "deviceId", FILE), "device_id", 404),
    "SendMedia.reply_to": (
        posting("/messages/send-media", "replyTo", {**FILE, "deviceId": "{device}"}),
        "message_id",
        422,
    ),
    "MessagesPage.device_id": (getting("/messages", "deviceId"), "device_id", 404),
    "TicketRequest.device_id": (posting("/events/ticket", "deviceId", {}), "device_id", 404),
    "CreateWebhook.device_id": (
        posting("/webhooks", "deviceId", {"url": "http://127.0.0.1:47999/x"}),
        "device_id",
        404,
    ),
    "UpdateWebhook.device_id": (posting("/webhooks/{webhook}", "deviceId", {}), "device_id", 404),
    "Receipt.message_id": (
        posting("/devices/{device}/sandbox/receipt", "messageId", {"status": "read"}),
        "message_id",
        422,
    ),
    "Receive.reply_to": (posting(RECEIVE, "replyTo", {}), "message_id", 422),
    "Receive.target": (posting(RECEIVE, "target", {"kind": "reaction", "emoji": "x"}), "message_id", 422),
}
"""Every field of a request that names a thing by its id: how to ask, for what, and what the refusal is."""

ELSEWHERE = {
    *("Receive.message_id", "EventsQuery.ticket", "EventsQuery.last_event_id"),
    *("Page.cursor", "MessagesPage.cursor", "DeliveryPage.cursor"),
}
"""Fields that tests of their own look at."""


def reference_fields() -> set[str]:
    """Every field of a request or query that may name a thing, from the structs of the API's modules."""
    found = set()
    for module in pkgutil.iter_modules(api.__path__):
        for name, kind in inspect.getmembers(importlib.import_module(f"appliance.api.{module.name}")):
            if (
                inspect.isclass(kind)
                and issubclass(kind, msgspec.Struct)
                and kind.__struct_config__.forbid_unknown_fields
            ):
                found |= {f"{name}.{f}" for f in kind.__struct_fields__ if NAMES_ANOTHER.fullmatch(f)}
    return found


def test_every_field_that_names_a_thing_is_tried() -> None:
    assert reference_fields() == REFERENCES.keys() | ELSEWHERE


@pytest.mark.parametrize("field", REFERENCES)
def test_no_field_finds_what_is_anothers(worlds: tuple[World, World], field: str) -> None:
    ann, bob = worlds
    ask, kind, status = REFERENCES[field]
    before = ann.snapshot()
    [theirs] = [i for i in ann.ids[kind] if i in {ann.device, ann.sent["id"]}]
    answer, unknown = ask(bob, theirs), ask(bob, new_id())
    assert answer.status_code == status, answer.text
    assert told(answer) == told(unknown)
    silent(answer, theirs, ann)
    assert ask(bob, {"device_id": bob.device, "message_id": bob.sent["id"]}[kind]).is_success
    assert ann.snapshot() == before


def test_whatsapps_ids_are_each_accounts_own(worlds: tuple[World, World]) -> None:
    """They are chosen by whoever writes, so that two accounts may well have the same."""
    ann, bob = worlds
    for world in worlds:
        assert world.account.ok("GET", "/messages/3EB0SHARED")["id"] == world.received["id"]
        assert f"{world.name}s file" in world.account.http.get("/messages/3EB0SHARED/media").text
    quoting = {"deviceId": bob.device, "to": STAYS_SENT, "text": "x", "replyTo": ann.sent["messageId"]}
    bob.account.refused(422, "validation_failed", "POST", "/messages/send-text", quoting)


def test_a_ticket_opens_its_own_stream_only(worlds: tuple[World, World], shared: Running) -> None:
    ann, bob = worlds
    wide = bob.account.ok("POST", "/events/ticket")["ticket"]
    for path, ticket, status in (
        (f"/devices/{ann.device}/events", bob.ticket, 401),
        (f"/devices/{ann.device}/events", wide, 401),
        ("/events", bob.ticket, 401),
        (f"/devices/{bob.device}/events", ann.ticket, 401),
    ):
        answer = httpx.get(f"{shared.url}{path}", params={"ticket": ticket})
        assert answer.status_code == status, path
        silent(answer, path, ann)
    with bob.account.http.stream("GET", "/events", params={"ticket": ann.ticket}) as stream:
        first = next(chunk for chunk in stream.iter_text() if "data:" in chunk)
    assert bob.device in first
    assert ann.device not in first


@pytest.mark.parametrize("after", [0, 1])
def test_event_numbers_of_others_lead_to_ones_own(worlds: tuple[World, World], after: int) -> None:
    ann, bob = worlds
    query = {"after": after, "limit": 200}
    listed = bob.account.http.get("/events", params=query, headers={"Accept": "application/json"})
    silent(listed, "", ann)
    assert {item["deviceId"] for item in _datas(listed.json())} == {bob.device}


def _datas(page: Any) -> list[Any]:
    return [item.get("data", item) for item in page["items"]]


@pytest.mark.parametrize("path", ["/devices", "/messages", "/webhooks"])
def test_a_cursor_of_anothers_list_leads_through_ones_own(worlds: tuple[World, World], path: str) -> None:
    ann, bob = worlds
    for world in worlds:
        second = {"name": f"{world.name}s second", "sandbox": True}
        if path == "/devices" and len(world.account.ok("GET", path)["items"]) < 2:
            world.account.ok("POST", path, second)
        if path == "/webhooks" and len(world.account.ok("GET", path)["items"]) < 2:
            world.account.ok("POST", path, {"url": "http://127.0.0.1:47999/second"})
    cursor = ann.account.ok("GET", path, params={"limit": 1})["nextCursor"]
    assert cursor is not None
    answer = bob.account.http.get(path, params={"limit": 200, "cursor": cursor})
    assert answer.status_code == 200
    silent(answer, "", ann)
