"""The device pages over HTTP: what may be sent, what was told, what a deletion takes along, and plots."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from browser import Browser
from running import Account, Running, until

PASSWORD = "a long password"


class Member:
    """Somebody signed in, and the key of the same account."""

    def __init__(self, gateway: Running, email: str) -> None:
        self.api: Account = gateway.account(email)
        self.browser = Browser(gateway.url)
        self.browser.sign_in(email, PASSWORD)

    def page(self, device_id: str) -> str:
        return self.browser.see(f"/dashboard/devices/{device_id}").text

    def part(self, device_id: str, name: str) -> str:
        return self.browser.see(f"/dashboard/parts/devices/{device_id}/{name}").text


@pytest.fixture
def member(shared: Running, request: pytest.FixtureRequest) -> Iterator[Member]:
    member = Member(shared, f"{abs(hash(request.node.name))}@example.test")
    yield member
    member.browser.close()


def meter(page: str) -> tuple[int, int]:
    found = re.search(r'<meter [^>]*max="(\d+)"[^>]* value="(\d+)"', page)
    assert found
    return int(found[2]), int(found[1])


def test_the_budget_is_a_meter_that_falls_with_every_message(member: Member) -> None:
    device = member.api.device()
    assert meter(member.page(device)) == (30, 30)
    for _ in range(3):
        member.api.send(device, "999000000010")
    assert meter(member.part(device, "sending")) == (27, 30)
    assert "27 of 30 messages left this minute" in member.browser.see("/dashboard/parts/devices").text


def test_a_restriction_and_a_ban_are_told_with_their_end(member: Member) -> None:
    device = member.api.device()
    member.api.http.post(
        "/messages/send-text", json={"deviceId": device, "to": "999000000063", "text": "Halo"}
    )
    until("restriction", lambda: "has not written to before" in member.part(device, "sending"))
    until_ms = 4_102_444_800_000
    state = {"status": "BANNED", "until": until_ms}
    member.api.ok("POST", f"/devices/{device}/sandbox/state", state)
    part = member.part(device, "sending")
    assert "banned this account" in part
    assert f'data-ms="{until_ms}"' in part


def test_events_are_listed_newest_first_with_their_data(member: Member) -> None:
    device = member.api.device()
    heard = {"from": "628111222333", "text": "Halo <i>kamu</i>"}
    member.api.ok("POST", f"/devices/{device}/sandbox/receive", heard)
    part = member.part(device, "told")
    numbers = [int(no) for no in re.findall(r'id="e-(\d+)"', part)]
    assert numbers == sorted(numbers, reverse=True)
    assert "From +628111222333 · Text: " in part
    assert "Halo &lt;i&gt;kamu&lt;/i&gt;" in part
    assert "<i>" not in part
    assert "&#34;remoteJid&#34;: &#34;628111222333@s.whatsapp.net&#34;" in part


def test_plots_stand_beside_their_figures(member: Member) -> None:
    device = member.api.device()
    heard = {"from": "628111222333", "text": "Halo", "count": 7}
    member.api.ok("POST", f"/devices/{device}/sandbox/receive", heard)
    member.api.send(device, "628111222333")
    page = member.page(device)
    for name in ("rate", "day", "week"):
        assert f'<title id="plot-{name}">' in page
    for name in ("day", "week"):
        assert re.search(rf'id="plot-{name}">[^<]*8 altogether, at most 10 ', page)
    assert page.count("<td>1</td><td>7</td>") == 2
    assert 'class="limit"' in page


def test_deleting_says_what_is_lost_and_then_does_it(member: Member) -> None:
    device = member.api.device("Shop")
    heard = {"from": "628111222333", "count": 3, "text": "Halo"}
    member.api.ok("POST", f"/devices/{device}/sandbox/receive", heard)
    member.api.ok("POST", f"/devices/{device}/sandbox/receive", {"from": "628111222333", "kind": "image"})
    hook = {"url": "http://127.0.0.1:59999/", "deviceId": device}
    member.api.ok("POST", "/webhooks", hook)
    page = member.browser.see(f"/dashboard/devices/{device}/delete").text
    for line in ("Messages: 4", "Files that were received: 1", "for this device alone: 1"):
        assert line in page
    assert member.api.ok("GET", f"/devices/{device}")["name"] == "Shop"
    answer = member.browser.fill(f"/dashboard/devices/{device}/delete")
    assert answer.headers["location"] == "/dashboard/devices?done=deleted"
    member.api.refused(404, "not_found", "GET", f"/devices/{device}")


def test_somebody_invented_writes_to_a_sandbox(member: Member) -> None:
    device = member.api.device()
    member.page(device)
    path = f"/dashboard/devices/{device}/hear"
    bad = member.browser.fill(path, **{"from": "siapa", "text": "<b>", "what": "text"})
    assert bad.status_code == 422
    assert 'value="siapa" aria-invalid="true"' in bad.text
    assert 'value="&lt;b&gt;"' in bad.text
    for what in ("text", "image", "voice", "document", "<strange>"):
        answer = member.browser.fill(path, **{"from": "+62 811 1222 333", "text": "Halo", "what": what})
        assert answer.headers["location"] == f"/dashboard/messages/{device}/628111222333@s.whatsapp.net"
    heard = member.api.ok("GET", "/messages", params={"fromMe": "false"})["items"]
    assert [message["kind"] for message in heard] == ["text", "document", "voice", "image", "text"]


def test_a_proxy_is_changed_and_its_password_never_shown(member: Member) -> None:
    device: Any = member.api.ok("POST", "/devices", {"name": "Real"})["id"]
    member.page(device)
    path = f"/dashboard/devices/{device}/proxy"
    bad = member.browser.fill(path, proxy="not a proxy")
    assert bad.status_code == 422
    assert 'value="not a proxy"' in bad.text
    good = member.browser.fill(path, proxy="socks5://me:hunter2@proxy.example:1080")
    assert good.headers["location"] == f"/dashboard/devices/{device}?done=proxy"
    page = member.page(device)
    assert "socks5://proxy.example:1080" in page
    assert "hunter2" not in page
    member.browser.fill(path, proxy="")
    assert "socks5://proxy.example" not in member.page(device)


def test_somebody_elses_device_has_no_pages(member: Member, shared: Running) -> None:
    device = shared.account().device()
    for name in ("sending", "told", "state", "qr", "link"):
        assert member.browser.see(f"/dashboard/parts/devices/{device}/{name}").status_code == 404
    assert member.browser.see(f"/dashboard/devices/{device}/delete").status_code == 404
    member.browser.see("/dashboard/devices")
    for act in ("hear", "proxy", "delete"):
        path = f"/dashboard/devices/{device}/{act}"
        assert member.browser.fill(path, **{"from": "628111222333"}).status_code == 404, act
        assert member.browser.http.post(path, data={"csrf": "guessed"}).status_code == 403, act
