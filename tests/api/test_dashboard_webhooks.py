"""Webhooks in the dashboard: health, the log with its requests, changing, replaying, inspector, checker."""

import html
import re
import time
from collections.abc import Iterator

import pytest
from browser import Browser
from hook import receiving
from running import Account, Running, until

PASSWORD = "a long password"
NOBODY = "c" + "0" * 24


@pytest.fixture
def email() -> str:
    return f"{time.time_ns()}@example.test"


@pytest.fixture
def owner(shared: Running, email: str) -> Account:
    return shared.account(email)


@pytest.fixture
def browser(shared: Running, owner: Account, email: str) -> Iterator[Browser]:
    browser = Browser(shared.url)
    browser.sign_in(email, PASSWORD)
    browser.see("/dashboard/webhooks")
    yield browser
    browser.close()


def added(browser: Browser, url: str, **fields: str) -> str:
    """Add a webhook by its form; returns its page."""
    typed = {"events": "message.received", "chat_kinds": "direct", "url": url, **fields}
    answer = browser.fill("/dashboard/webhooks", **typed)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"].partition("?")[0])


def field(page: str, name: str) -> str:
    found = re.search(rf'<textarea id="{name}"[^>]*>([^<]*)</textarea>', page)
    assert found, name
    return html.unescape(found[1])


def test_a_failing_webhook_says_so_in_plain_words_and_shows_request_and_answer(browser: Browser) -> None:
    with receiving(500, b"<b>my handler crashed</b>") as hook:
        page = added(browser, hook.url, headers="Authorization: Bearer of-mine")
        browser.fill(f"{page}/test")
        until("a failure", lambda: "Will retry" in browser.see(page).text)
        shown = browser.see(page).text
        assert "Answered 500" in shown
        assert "Failing since" in shown
        assert re.search(r"given up on\s+<time [^>]*data-ms", shown)
        assert "0 % of 1 delivered" in shown
        assert "1 waiting" in browser.see("/dashboard/webhooks").text
        link = re.search(rf'href="({page}/deliveries/\w+)"', shown)
        assert link
        delivery = browser.see(link[1]).text
    post = hook.posts[0]
    assert post.headers["x-webhook-signature"] in delivery
    assert html.escape(post.body.decode(), quote=True).replace("&quot;", "&#34;") in delivery
    assert "of-mine" not in delivery
    assert "&lt;b&gt;my handler crashed" in delivery
    assert "<b>my handler" not in delivery
    assert "--data-binary" in delivery


def test_the_log_is_narrowed_by_state_and_event(browser: Browser) -> None:
    with receiving(200) as hook:
        page = added(browser, hook.url)
        browser.fill(f"{page}/test")
        until("a delivery", lambda: ">Delivered</span>" in browser.see(page).text)
    assert "deliveries/c" in browser.see(f"{page}?status=delivered&event=message.received").text
    assert "deliveries/c" not in browser.see(f"{page}?status=dead").text
    assert "deliveries/c" not in browser.see(f"{page}?event=device.status").text
    assert browser.see(f"{page}?status=nonsense&before=x&event=%00").status_code == 200
    assert "100 % of 1 delivered" in browser.see(page).text


def test_one_and_all_are_delivered_again(browser: Browser) -> None:
    with receiving(200) as hook:
        page = added(browser, hook.url)
        browser.fill(f"{page}/test")
        until("a delivery", lambda: ">Delivered</span>" in browser.see(page).text)
        link = re.search(rf'href="({page}/deliveries/\w+)"', browser.see(page).text)
        assert link
        assert browser.fill(f"{link[1]}/replay").status_code == 303
        until("the second POST", lambda: len(hook.posts) == 2)
        until("it is written", lambda: "Attempt 2" in browser.see(link[1]).text)
        answer = browser.fill(f"{page}/replay", status="", span="1h")
        assert "replayed=1" in answer.headers["location"]
        until("the third POST", lambda: len(hook.posts) == 3)
        none = browser.fill(f"{page}/replay", status="dead", span="ever")
        assert "replayed=0" in none.headers["location"]
    assert len({post.event_id for post in hook.posts}) == 1


def test_a_webhook_is_given_a_device_and_let_go_again(browser: Browser, owner: Account) -> None:
    page, device = added(browser, "http://127.0.0.1:59999/one"), owner.device(name="Till")
    owner.device(name="Van")
    typed = {"url": "http://127.0.0.1:59999/one", "events": "device.status", "chat_kinds": "group"}
    for wished, kept in ((device, device), ("", None)):
        assert browser.fill(f"{page}/edit", **typed, device=wished).status_code == 303
        assert owner.ok("GET", f"/webhooks/{page.rpartition('/')[2]}")["deviceId"] == kept
        chosen = re.search(r'value="(\w*)" selected>(?:Till|Van)', browser.see(f"{page}/edit").text)
        assert (chosen and chosen[1]) == kept


def test_a_webhook_is_changed_and_keeps_what_was_typed_wrong(browser: Browser, owner: Account) -> None:
    page = added(browser, "http://127.0.0.1:59999/a", headers="X-Own: secret-of-mine")
    webhook = f"/webhooks/{page.rpartition('/')[2]}"
    form = browser.see(f"{page}/edit").text
    assert field(form, "headers") == "X-Own: ********"
    typed = {
        "url": "http://127.0.0.1:59999/b",
        "events": "device.status",
        "chat_kinds": "group",
        "from_me": "no",
        "kinds": "text, image",
        "remote_jids": "+62 811-1222-333",
        "headers": "X-Own: ********\nX-More: 2",
        "redirect": "yes",
    }
    for wrong in ({"headers": "no colon"}, {"remote_jids": "nonsense!"}, {"url": "ftp://x"}):
        answer = browser.fill(f"{page}/edit", **(typed | wrong))
        assert answer.status_code == 422, wrong
        assert 'aria-invalid="true"' in answer.text, wrong
        assert html.escape(next(iter(wrong.values()))) in answer.text
    assert browser.fill(f"{page}/edit", **typed).status_code == 303
    kept = owner.ok("GET", webhook)
    assert kept["url"] == "http://127.0.0.1:59999/b"
    assert kept["events"] == ["device.status"]
    assert kept["headers"] == {"X-Own": "********", "X-More": "********"}
    assert kept["redirectIsSuccess"]
    assert kept["filters"] == {
        "chatKinds": ["group"],
        "fromMe": False,
        "kinds": ["text", "image"],
        "remoteJids": ["628111222333@s.whatsapp.net"],
    }
    assert browser.fill(f"{page}/disable").status_code == 303
    assert owner.ok("GET", webhook)["enabled"] is False
    assert "Switched off" in browser.see(page).text
    assert browser.fill(f"{page}/test").status_code == 409
    assert browser.fill(f"{page}/enable").status_code == 303
    assert owner.ok("GET", webhook)["enabled"] is True


def test_the_secret_needs_a_fresh_login_and_is_rotated(browser: Browser, owner: Account) -> None:
    page = added(browser, "http://127.0.0.1:59999/")
    webhook = f"/webhooks/{page.rpartition('/')[2]}"
    old = owner.ok("GET", webhook)["secret"]
    assert old in html.unescape(browser.see(page).text)
    assert browser.fill(f"{page}/rotate").status_code == 303
    new = owner.ok("GET", webhook)["secret"]
    assert new != old
    assert new in html.unescape(browser.see(page).text)
    assert browser.fill(f"{page}/reveal", password="not it").status_code == 422
    assert browser.fill(f"{page}/reveal", password=PASSWORD).status_code == 303


def test_the_inspector_shows_requests_and_the_api_lists_it(browser: Browser, owner: Account) -> None:
    assert "Show me a request" in browser.see("/dashboard/inspector").text
    assert owner.ok("GET", "/webhooks")["items"] == []
    for _ in range(2):
        assert browser.fill("/dashboard/inspector").status_code == 303
    [listed] = owner.ok("GET", "/webhooks")["items"]
    assert listed["url"] == "inspector:"
    device = owner.device()
    owner.ok("POST", f"/devices/{device}/sandbox/receive", {"from": "999000000010", "text": "<i>Halo</i>"})
    until("the message", lambda: "&lt;i&gt;Halo" in browser.see("/dashboard/inspector").text)
    shown = browser.see("/dashboard/inspector").text
    assert "<i>Halo" not in shown
    assert "X-Webhook-Signature" in shown
    [*_, first] = owner.ok("GET", f"/webhooks/{listed['id']}/deliveries")["items"]
    told = owner.ok("GET", f"/webhooks/{listed['id']}/deliveries/{first['id']}")
    assert told["attempts"][0]["answer"] == "Shown by the inspector. Nothing was sent."
    owner.refused(422, "webhook_url_forbidden", "POST", "/webhooks", {"url": "inspector:"})


def test_the_checker_names_the_mistake_and_keeps_nothing(
    browser: Browser, owner: Account, shared: Running
) -> None:
    browser.fill("/dashboard/inspector")
    [listed] = owner.ok("GET", "/webhooks")["items"]
    until("a request", lambda: "curl-" in browser.see("/dashboard/inspector").text)
    page = browser.see("/dashboard/inspector").text
    headers = {
        name: html.unescape(value)
        for name, value in re.findall(r'<th scope="row">([^<]+)</th><td><code>([^<]+)</code>', page)
    }
    body = html.unescape(re.findall(r'class="body exact">([^<]+)<', page)[0])
    pasted = "\n".join(f"{name}: {value}" for name, value in headers.items())

    def told(**fields: str) -> str:
        typed = {"webhook": listed["id"], "secret": "", "headers": pasted, "body": body}
        return browser.fill("/dashboard/signature", **(typed | fields)).text

    assert told().count(">Fits</span>") == 2
    assert told(webhook="", secret=listed["secret"]).count(">Fits</span>") == 2
    assert "added blanks" in told(body=body.replace(",", ", "))
    changed = told(body=body.replace("a test", "a best"))
    assert "not what was sent" in changed
    assert "departs here" in changed
    assert "Nothing fits" in told(webhook="", secret="a-wrong-secret-of-mine")
    assert "Choose a webhook" in told(webhook=NOBODY)
    assert "no signature in the headers" in told(headers="nothing")
    assert "a-wrong-secret-of-mine" not in shared.logged()
    assert headers["X-Webhook-Signature"] not in shared.logged()


def test_every_form_needs_its_token_and_everything_is_ones_own(browser: Browser, shared: Running) -> None:
    other = shared.account()
    webhook = other.ok("POST", "/webhooks", {"url": "http://127.0.0.1:59999/"})["id"]
    delivery = other.ok("POST", f"/webhooks/{webhook}/test")["id"]
    base = f"/dashboard/webhooks/{webhook}"
    forms = [
        *(f"{base}/{act}" for act in ("edit", "test", "enable", "disable", "rotate", "reveal")),
        *(f"{base}/{act}" for act in ("replay", "delete", f"deliveries/{delivery}/replay")),
    ]
    for path in forms:
        assert browser.fill(path).status_code == 404, path
    for path in (base, f"{base}/edit", f"{base}/deliveries/{delivery}"):
        assert browser.see(path).status_code == 404, path
    for path in ("", f"/{delivery}"):
        assert browser.see(f"/dashboard/parts/webhooks/{webhook}/deliveries{path}").status_code == 404, path
    for path in (*forms, "/dashboard/inspector", "/dashboard/inspector/test", "/dashboard/signature"):
        assert browser.http.post(path, data={"csrf": "guessed"}).status_code == 403, path
        assert (
            browser.http.post(path, data={"csrf": browser.csrf}, headers={"Origin": "null"}).status_code
            == 403
        )
    assert "127.0.0.1:59999" not in browser.see(f"/dashboard/signature?webhook={webhook}").text
    assert other.ok("GET", f"/webhooks/{webhook}")["enabled"]


@pytest.mark.parametrize(
    "path", ["webhooks/x/y/z", "parts", "devices/x/test/more", "nowhere/deep", "webhooks/x/test", "static/x"]
)
def test_a_page_that_is_not_there_is_said_in_html(browser: Browser, path: str) -> None:
    answer = browser.see(f"/dashboard/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
