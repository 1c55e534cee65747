"""The sandbox over HTTP: everything a newcomer can do without a phone, on a real gateway."""

import base64
import time
from collections.abc import Callable
from typing import Any

import pytest
from running import Account, Running, until

ANN = "628111222333"
SAMPLE_TYPES = {
    "image": "image/jpeg",
    "video": "video/mp4",
    "audio": "audio/mpeg",
    "voice": "audio/ogg; codecs=opus",
    "document": "application/pdf",
    "sticker": "image/webp",
}


class Phone:
    """A sandbox device and what happens to it."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.id = account.device()
        self.path = f"/devices/{self.id}/sandbox"
        self.start = self._events()[-1]["eventId"]

    def receive(self, **message: Any) -> Any:
        if "from_" in message:
            message["from"] = message.pop("from_")
        return self.account.ok("POST", f"{self.path}/receive", message)

    def told(self, event_id: int) -> Any:
        """The `message.received` data of that event."""
        found = [data for data in self._events(after=event_id - 1) if data["eventId"] == event_id]
        assert found, f"event {event_id} was not told"
        return found[0]

    def statuses(self, message_id: str) -> list[str]:
        """The statuses told of a message, in order."""
        events = self._events(after=self.start, types="message.status")
        return [data["status"] for data in events if data["id"] == message_id]

    def received(self, count: int) -> list[Any]:
        """The first `count` messages that were told."""

        def check() -> Any:
            found = self._events(after=self.start, types="message.received")
            return found if len(found) >= count else None

        events: list[Any] = until(f"{count} messages", check)
        return events

    def _events(self, **query: Any) -> list[Any]:
        headers = {"Accept": "application/json"}
        path = f"/devices/{self.id}/events"
        items = self.account.ok("GET", path, params={"limit": 200, **query}, headers=headers)["items"]
        return [item.get("data", item) for item in items]


@pytest.fixture
def phone(account: Account) -> Phone:
    return Phone(account)


def test_from_nothing_to_a_received_message(account: Account) -> None:
    device = account.ok("POST", "/devices", {"name": "try", "sandbox": True})
    assert (device["sandbox"], device["linked"]) == (True, False)
    path = f"/devices/{device['id']}"
    account.refused(409, "no_qr", "POST", f"{path}/sandbox/scan")
    started = time.monotonic()
    account.ok("POST", f"{path}/connect")
    until("QR code", lambda: account.http.get(f"{path}/qr", params={"format": "json"}).is_success)
    assert time.monotonic() - started < 0.5
    scanned = account.ok("POST", f"{path}/sandbox/scan", {"phone": ANN, "pushName": "Ann"})
    assert (scanned["status"], scanned["phone"], scanned["pushName"]) == ("CONNECTED", ANN, "Ann")
    account.refused(409, "already_linked", "POST", f"{path}/sandbox/scan")
    told = account.ok("POST", f"{path}/sandbox/receive")
    assert told["remoteJid"] == "999000000010@s.whatsapp.net"
    assert set(told) == {"id", "eventId", "messageId", "remoteJid", "timestamp"}
    assert account.ok("GET", f"/messages/{told['id']}")["text"] == "Halo!"


def test_a_link_code_is_completed_by_a_scan(account: Account) -> None:
    device = account.ok("POST", "/devices", {"name": "code", "sandbox": True})
    path = f"/devices/{device['id']}"
    assert account.ok("POST", f"{path}/pair-code", {"phone": ANN})["code"][4] == "-"
    assert account.ok("POST", f"{path}/sandbox/scan")["phone"] == ANN


def test_a_received_text_has_the_documented_shape(phone: Phone) -> None:
    told = phone.receive(from_=ANN, text="Halo!", pushName="Ann", timestamp=1_746_479_998)
    data = phone.told(told["eventId"])
    assert list(data)[:6] == ["deviceId", "remoteJid", "fromMe", "type", "content", "timestamp"]
    assert data["deviceId"] == phone.id
    assert data["remoteJid"] == f"{ANN}@s.whatsapp.net"
    assert data["content"] == {"conversation": "Halo!"}
    assert (data["type"], data["timestamp"], data["sandbox"]) == ("conversation", 1_746_479_998, True)
    assert data["sender"]["phone"] == ANN
    assert data["sender"]["pushName"] == "Ann"
    assert data["messageId"] == told["messageId"]


def test_a_repeat_answers_the_ids_of_the_first(phone: Phone) -> None:
    first = phone.receive(from_=ANN, messageId="3AFIRST", text="once")
    again = phone.receive(from_=ANN, messageId="3AFIRST", text="once")
    assert again == first
    other = phone.receive(from_="628111222334", messageId="3AFIRST", text="somebody else's")
    assert other["id"] != first["id"]


def test_replies_mentions_forwarding(phone: Phone) -> None:
    first = phone.receive(from_=ANN, text="the first")
    told = phone.receive(
        from_=ANN, text="yes", replyTo=first["id"], mentions=["628111222444"], forwarded=True
    )
    data = phone.told(told["eventId"])
    assert data["replyTo"]["id"] == first["id"]
    assert data["replyTo"]["text"] == "the first"
    assert data["mentions"] == ["628111222444@s.whatsapp.net"]
    assert data["forwarded"] is True
    context = data["content"]["extendedTextMessage"]["contextInfo"]
    assert context["stanzaId"] == first["messageId"]
    assert context["mentionedJid"] == ["628111222444@s.whatsapp.net"]


def test_groups_lids_and_the_own_phone(phone: Phone) -> None:
    group = phone.told(phone.receive(from_=ANN, group="120363000000000009", text="all")["eventId"])
    assert group["remoteJid"] == "120363000000000009@g.us"
    assert group["participant"] == f"{ANN}@s.whatsapp.net"
    assert group["chat"]["kind"] == "group"

    hidden = phone.told(phone.receive(from_="628111222555", lid=True)["eventId"])
    assert hidden["remoteJid"].endswith("@lid")
    assert hidden["sender"]["phone"] is None

    alone = phone.told(phone.receive(lid="123456789012345")["eventId"])
    assert alone["remoteJid"] == "123456789012345@lid"
    phone.receive(from_="628111222666", lid="123456789012345@lid")
    known = phone.told(phone.receive(lid="123456789012345")["eventId"])
    assert known["remoteJid"] == "628111222666@s.whatsapp.net"

    typed = phone.told(phone.receive(from_=ANN, fromMe=True, text="typed")["eventId"])
    assert (typed["fromMe"], typed["remoteJid"]) == (True, f"{ANN}@s.whatsapp.net")


@pytest.mark.parametrize("kind", SAMPLE_TYPES)
def test_every_kind_of_file_has_a_sample(phone: Phone, kind: str) -> None:
    told = phone.receive(kind=kind, caption="look")
    data = phone.told(told["eventId"])
    assert data["kind"] == kind
    assert data["media"]["mimetype"] == SAMPLE_TYPES[kind]
    file = phone.account.http.get(f"/messages/{told['id']}/media")
    assert file.status_code == 200, file.text
    assert len(file.content) == data["media"]["size"] > 100
    assert data["content"][data["type"]]["fileLength"] == str(data["media"]["size"])


def test_a_file_of_the_callers_own(phone: Phone) -> None:
    pdf = b"%PDF-1.4 of the caller's own"
    told = phone.receive(kind="document", base64=base64.b64encode(pdf).decode(), filename="harga.pdf")
    assert phone.told(told["eventId"])["media"]["filename"] == "harga.pdf"
    assert phone.account.http.get(f"/messages/{told['id']}/media").content == pdf


def test_a_file_that_cannot_be_downloaded_is_told_all_the_same(phone: Phone) -> None:
    data = phone.told(phone.receive(kind="image", failDownload=True)["eventId"])
    assert data["media"]["error"]
    assert not data["media"].get("url")


def test_reactions_places_edits_deletions_votes(phone: Phone) -> None:
    sent = phone.account.send(phone.id, "999000000001")
    target = sent["messageId"]
    reaction = phone.told(phone.receive(kind="reaction", target=sent["id"], emoji="👍")["eventId"])
    assert reaction["reaction"] == {"messageId": target, "emoji": "👍"}
    place = phone.receive(kind="location", latitude=-6.2, longitude=106.8, name="Monas")
    assert phone.told(place["eventId"])["location"] == {
        "latitude": -6.2,
        "longitude": 106.8,
        "name": "Monas",
    }
    first = phone.receive(text="wrnog")
    edit = phone.told(phone.receive(kind="edit", target=first["id"], text="right")["eventId"])
    assert (edit["edits"], edit["text"], edit["kind"]) == (first["messageId"], "right", "edit")
    gone = phone.told(phone.receive(kind="delete", target=first["messageId"])["eventId"])
    assert gone["content"]["protocolMessage"]["type"] == "REVOKE"
    vote = phone.told(phone.receive(kind="poll_vote", target="3APOLL", options=["Yes"])["eventId"])
    assert vote["vote"] == {"messageId": "3APOLL", "options": ["Yes"]}


def test_raw_content_is_told_as_it_is(phone: Phone) -> None:
    content = {"templateMessage": {"title": "x", "n": 1.5}, "messageContextInfo": {}}
    data = phone.told(phone.receive(kind="raw", content=content)["eventId"])
    assert data["content"] == content
    assert (data["type"], data["kind"]) == ("templateMessage", "unknown")


def test_many_at_once(phone: Phone) -> None:
    told = phone.receive(from_=ANN, text="many", count=150)
    assert told["count"] == 150
    events = phone.received(150)
    assert [data["text"] for data in events] == ["many"] * 150
    assert events[-1]["eventId"] == told["eventId"]
    assert len({data["messageId"] for data in events}) == 150


def test_it_can_come_later(phone: Phone) -> None:
    started = time.monotonic()
    phone.receive(delayMs=300)
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "reaction"}, "target"),
        ({"kind": "location", "latitude": 1}, "longitude"),
        ({"kind": "edit", "target": "3A"}, "text"),
        ({"kind": "raw"}, "content"),
        ({"kind": "carrier pigeon"}, "kind"),
        ({"count": 1001}, "count"),
        ({"from": "nobody"}, "from"),
        ({"group": "628111222333@s.whatsapp.net"}, "group"),
        ({"lid": "me"}, "lid"),
        ({"base64": "eA=="}, "kind"),
        ({"kind": "image", "base64": "eA==", "url": "https://example.test/x"}, "url"),
        ({"replyTo": "c" + "0" * 24}, "replyTo"),
        ({"sender": "628111222333"}, "sender"),
    ],
)
def test_what_is_wrong_is_named(phone: Phone, body: dict[str, Any], field: str) -> None:
    problem = phone.account.refused(422, "validation_failed", "POST", f"{phone.path}/receive", body)
    assert field in [error["field"] for error in problem["errors"]]


def test_states_and_the_way_back(phone: Phone) -> None:
    account = phone.account
    lost = account.ok("POST", f"{phone.path}/state", {"status": "RECONNECTING"})
    assert (lost["status"], lost["reason"]) == ("RECONNECTING", "connection_lost")
    account.refused(409, "device_disconnected", "POST", f"{phone.path}/receive")
    body = {"deviceId": phone.id, "to": "999000000003", "text": "later"}
    prefer = {"Prefer": "respond-async"}
    waiting = account.ok("POST", "/messages/send-text", body, headers=prefer)
    assert waiting["status"] == "queued"
    healed = account.ok("POST", f"{phone.path}/state", {"status": "CONNECTED"})
    assert (healed["status"], healed["reason"]) == ("CONNECTED", None)
    account.message(waiting["id"], "read")

    account.ok("POST", f"{phone.path}/state", {"status": "RECONNECTING"})
    account.ok("POST", f"{phone.path}/state", {"status": "CONNECTED", "afterMs": 200})
    account.connected(phone.id)


def test_a_ban_refuses_until_it_is_healed(phone: Phone) -> None:
    account, until_ms = phone.account, 4_102_444_800_000
    banned = account.ok("POST", f"{phone.path}/state", {"status": "BANNED", "until": until_ms})
    assert (banned["status"], banned["until"]) == ("BANNED", until_ms)
    body = {"deviceId": phone.id, "to": ANN, "text": "x"}
    assert account.refused(409, "device_banned", "POST", "/messages/send-text", body)["until"] == until_ms
    account.ok("POST", f"{phone.path}/state", {"status": "CONNECTED"})
    account.connected(phone.id)
    assert account.send(phone.id, ANN)["status"] == "sent"


def test_unlinked_from_the_phone_and_linked_again(phone: Phone) -> None:
    account = phone.account
    gone = account.ok("POST", f"{phone.path}/state", {"status": "LOGGED_OUT"})
    assert (gone["status"], gone["linked"], gone["reason"]) == ("LOGGED_OUT", False, "device_removed")
    account.refused(409, "device_logged_out", "POST", f"{phone.path}/state", {"status": "CONNECTED"})
    account.ok("POST", f"/devices/{phone.id}/connect")
    assert account.ok("POST", f"{phone.path}/scan")["status"] == "CONNECTED"


def test_a_stopped_device_is_healed_by_connected(phone: Phone) -> None:
    account = phone.account
    account.ok("POST", f"/devices/{phone.id}/disconnect")
    account.refused(409, "device_disconnected", "POST", f"{phone.path}/state", {"status": "RECONNECTING"})
    assert account.ok("POST", f"{phone.path}/state", {"status": "CONNECTED"})["status"] == "CONNECTED"


def test_receipts_by_hand(phone: Phone) -> None:
    account = phone.account
    sent = account.send(phone.id, "999000000001")
    body = {"messageId": sent["id"], "status": "read"}
    assert account.ok("POST", f"{phone.path}/receipt", body)["status"] == "read"
    late = {"messageId": sent["messageId"], "status": "delivered"}
    assert account.ok("POST", f"{phone.path}/receipt", late)["status"] == "read"
    assert phone.statuses(sent["id"]) == ["sent", "read"]
    unknown = {"messageId": "3EB000", "status": "read"}
    account.refused(422, "validation_failed", "POST", f"{phone.path}/receipt", unknown)


LADDERS = {
    "01": ["sent"],
    "02": ["sent", "delivered"],
    "03": ["sent", "delivered", "read"],
    "04": ["sent", "delivered", "read", "played"],
    "07": ["sent", "failed"],
    "09": ["sent", "read"],
}


def test_the_ladder_of_each_number(phone: Phone) -> None:
    sent = {number: phone.account.send(phone.id, f"9990000000{number}") for number in LADDERS}
    for number, ladder in LADDERS.items():
        phone.account.message(sent[number]["id"], ladder[-1])
        assert phone.statuses(sent[number]["id"]) == ladder
    failed = phone.account.ok("GET", f"/messages/{sent['07']['id']}")
    assert failed["error"]["code"] == "engine_error"


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [
        ("999000000022", 422, "not_on_whatsapp"),
        ("999000000029", 429, "rate_limited"),
        ("999000000053", 503, "queue_full"),
        ("999000000057", 507, "storage_full"),
        ("999000000063", 409, "reachout_restricted"),
        ("120363999000000002@g.us", 403, "not_in_group"),
    ],
)
def test_the_refusal_of_each_number(phone: Phone, number: str, status: int, code: str) -> None:
    body = {"deviceId": phone.id, "to": number, "text": "Halo!"}
    answer = phone.account.http.post("/messages/send-text", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["x-ratelimit-remaining"] == answer.headers["x-ratelimit-limit"]
    if status == 429:
        assert int(answer.headers["retry-after"]) >= 1
    if code == "reachout_restricted":
        assert answer.json()["until"] > time.time() * 1000


def test_expired_and_unconfirmed(phone: Phone) -> None:
    body = {"deviceId": phone.id, "text": "Halo!"}
    expired = phone.account.http.post("/messages/send-text", json={**body, "to": "999000000006"})
    assert expired.json().get("error", {}).get("code") == "expired", expired.text
    unconfirmed = phone.account.http.post("/messages/send-text", json={**body, "to": "999000000008"})
    assert (unconfirmed.status_code, unconfirmed.json()["status"]) == (202, "unconfirmed")


def test_who_answers(phone: Phone) -> None:
    sent = {number: phone.account.send(phone.id, f"9990000000{number}") for number in ("10", "11", "12")}
    phone.account.send(phone.id, "999000000014")
    phone.account.send(phone.id, "120363999000000001@g.us")
    answers = {data["remoteJid"].partition("@")[0]: data for data in phone.received(5)}
    assert answers["999000000010"]["text"] == "Halo!"
    assert answers["999000000011"]["replyTo"]["id"] == sent["11"]["id"]
    assert answers["999000000012"]["reaction"]["messageId"] == sent["12"]["messageId"]
    assert answers["120363999000000001"]["participant"] == "999000000010@s.whatsapp.net"
    [stranger] = [data for data in answers.values() if data["remoteJid"].endswith("@lid")]
    assert stranger["sender"]["phone"] is None


def test_undecryptable_then_the_content(phone: Phone) -> None:
    phone.account.send(phone.id, "999000000015")
    broken, whole = phone.received(2)
    assert (broken["type"], broken["content"]) == ("undecryptable", {})
    assert (whole["update"], whole["text"]) == (True, "Halo!")
    assert whole["messageId"] == broken["messageId"]


def test_pictures_in_answer(phone: Phone) -> None:
    phone.account.send(phone.id, "999000000013")
    phone.account.send(phone.id, "999000000016")
    told = {data["remoteJid"][10:12]: data["media"] for data in phone.received(2)}
    assert told["13"]["url"]
    assert told["16"]["error"]


def test_a_slow_number_answers_202(phone: Phone) -> None:
    body = {"deviceId": phone.id, "to": "999000000005", "text": "slowly"}
    answer = phone.account.http.post("/messages/send-text", json=body, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"]) in [(202, "queued"), (202, "sending")]


def test_a_send_answers_quickly(phone: Phone) -> None:
    phone.account.send(phone.id, "999000000001")
    times = []
    for _ in range(10):
        started = time.monotonic()
        phone.account.send(phone.id, "999000000001")
        times.append(time.monotonic() - started)
    assert sorted(times)[len(times) // 2] < 0.05


def test_a_real_device_has_no_strings(account: Account) -> None:
    path = f"/devices/{account.ok('POST', '/devices', {'name': 'real'})['id']}/sandbox"
    account.refused(409, "sandbox_only", "POST", f"{path}/scan")
    account.refused(409, "sandbox_only", "POST", f"{path}/state", {"status": "CONNECTED"})
    account.refused(409, "sandbox_only", "POST", f"{path}/receipt", {"messageId": "x", "status": "read"})
    account.refused(409, "sandbox_only", "POST", f"{path}/receive")


def test_somebody_elses_device_does_not_exist(shared: Running, phone: Phone) -> None:
    stranger = shared.account()
    for route in ("scan", "state", "receipt", "receive"):
        stranger.refused(404, "not_found", "POST", f"{phone.path}/{route}", {"nonsense": 1})


def test_it_is_connected_again_after_a_restart(start: Callable[..., Running]) -> None:
    gateway = start()
    account = gateway.account()
    device = account.device()
    gateway.kill()
    gateway.start()
    assert account.connected(device)["sandbox"]
    assert account.send(device, "999000000001")["status"] == "sent"
