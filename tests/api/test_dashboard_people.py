"""People and system in the dashboard: invites, resets, disabling, deleting, backups, the end of the log."""

import json
import re
import time
from collections.abc import Callable, Iterator

import pytest
from browser import Browser
from running import Account, Running, running, until

PASSWORD = "a long password"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("people") / "data") as gateway:
        yield gateway


@pytest.fixture
def admin(gateway: Running) -> Iterator[Browser]:
    email = f"admin-{time.time_ns()}@example.test"
    gateway.account(email, admin=True)
    browser = Browser(gateway.url)
    browser.sign_in(email, PASSWORD)
    browser.see("/dashboard/people")
    yield browser
    browser.close()


@pytest.fixture
def email() -> str:
    return f"{time.time_ns()}@example.test"


@pytest.fixture
def account(gateway: Running, email: str) -> Account:
    return gateway.account(email)


@pytest.fixture
def stranger(gateway: Running) -> Iterator[Browser]:
    browser = Browser(gateway.url)
    yield browser
    browser.close()


def page_of(admin: Browser, email: str) -> str:
    """The page of the person with that email."""
    page = admin.see("/dashboard/people").text
    found = re.search(rf'href="(/dashboard/people/\w+)"(?:(?!href)[\s\S])*?{re.escape(email)}', page)
    assert found
    return found[1]


def link_in(text: str) -> str:
    """The path of the link that a page shows."""
    found = re.search(r'id="link"[^>]* value="http://[^/]+(/[^"]+)"', text)
    assert found, text
    return found[1]


def test_an_invite_makes_one_account(gateway: Running, admin: Browser, stranger: Browser, email: str) -> None:
    link = link_in(admin.fill("/dashboard/people/invite").text)
    assert link.startswith("/register/")
    assert link not in admin.see("/dashboard/people").text
    assert link.rpartition("/")[2] not in gateway.logged()
    assert "Registration is closed" in stranger.see("/register").text
    assert 'name="email"' in stranger.see(link).text
    typed = {"name": "Bob", "email": email, "password": PASSWORD}
    short = stranger.fill(link, **(typed | {"password": "short"}))
    assert short.status_code == 422
    assert 'value="Bob"' in short.text
    assert stranger.fill(link, **typed).headers["location"] == "/dashboard"
    assert "Hello, Bob" in stranger.see("/dashboard").text
    assert stranger.see("/dashboard/people").status_code == 404
    again = Browser(gateway.url)
    assert again.see(link).status_code == 404
    again.see("/login")
    assert again.fill(link, **(typed | {"email": f"x{email}"})).status_code == 422
    again.close()


def test_an_invite_is_taken_back(admin: Browser, stranger: Browser) -> None:
    shown = admin.fill("/dashboard/people/invite").text
    link = link_in(shown)
    for invite in re.findall(r'name="invite" value="(\w+)"', shown):
        assert admin.fill("/dashboard/people/revoke", invite=invite).status_code == 303
    assert stranger.see(link).status_code == 404


def test_a_reset_link_gives_a_new_password_once(
    admin: Browser, stranger: Browser, account: Account, email: str
) -> None:
    browser = Browser(account.url)
    browser.sign_in(email, PASSWORD)
    page = page_of(admin, email)
    first = link_in(admin.fill(f"{page}/reset").text)
    link = link_in(admin.fill(f"{page}/reset").text)
    assert stranger.see(first).status_code == 404
    assert email in stranger.see(link).text
    fresh = {"new_password": "another sentence", "new_password_again": "another sentence"}
    differs = stranger.fill(link, new_password="another sentence", new_password_again="x")
    assert differs.status_code == 422
    assert "differ" in differs.text
    assert stranger.fill(link, **fresh).headers["location"] == "/dashboard"
    assert browser.see("/dashboard").status_code == 303
    assert stranger.see(link).status_code == 404
    browser.sign_in(email, "another sentence")
    browser.close()


def test_a_disabled_account_is_shut_out_and_let_in_again(
    admin: Browser, account: Account, email: str
) -> None:
    browser = Browser(account.url)
    browser.sign_in(email, PASSWORD)
    device = account.device()
    page = page_of(admin, email)
    assert admin.fill(f"{page}/disable").status_code == 303
    account.refused(401, "invalid_api_key", "GET", "/auth/me")
    assert browser.see("/dashboard").headers["location"].startswith("/login")
    browser.see("/login")
    refused = browser.fill("/login", email=email, password=PASSWORD)
    assert refused.status_code == 422
    assert "disabled" in refused.text
    shown = admin.see(page).text
    assert "Disabled" in shown
    assert email in shown
    assert admin.fill(f"{page}/enable").status_code == 303
    found = account.ok("GET", f"/devices/{device}")
    assert found["status"] == "DISCONNECTED"
    assert found["phone"]
    browser.sign_in(email, PASSWORD)
    browser.close()


def test_a_deleted_account_is_gone_with_its_devices(
    gateway: Running, admin: Browser, account: Account, email: str
) -> None:
    device = account.device()
    page = page_of(admin, email)
    wrong = admin.fill(f"{page}/delete", email="somebody@example.test")
    assert wrong.status_code == 422
    assert account.ok("GET", f"/devices/{device}")["status"] == "CONNECTED"
    assert admin.fill(f"{page}/delete", email=email).headers["location"].endswith("done=deleted")
    account.refused(401, "invalid_api_key", "GET", "/auth/me")
    assert admin.see(page).status_code == 404
    assert email not in admin.see("/dashboard/people").text
    assert gateway.account(email).ok("GET", "/devices")["items"] == []


def test_nobody_does_it_to_themselves(admin: Browser) -> None:
    me = re.search(
        r'href="(/dashboard/people/\w+)"(?:(?!href)[\s\S])*?>you<', admin.see("/dashboard/people").text
    )
    assert me
    own = re.search(r"<dd>(admin-\S+@example.test)</dd>", admin.see(me[1]).text)
    assert own
    assert admin.fill(f"{me[1]}/disable").status_code == 422
    assert admin.fill(f"{me[1]}/delete", email=own[1]).status_code == 422
    assert admin.see(me[1]).status_code == 200


def test_a_person_is_made_and_bad_input_keeps_what_was_typed(
    admin: Browser, stranger: Browser, email: str
) -> None:
    typed = {"name": "Cy", "email": email, "password": "short", "role": "admin"}
    answer = admin.fill("/dashboard/people", **typed)
    assert answer.status_code == 422
    assert f'value="{email}"' in answer.text
    assert "short" not in answer.text
    assert admin.fill("/dashboard/people", **(typed | {"password": PASSWORD})).status_code == 303
    stranger.sign_in(email, PASSWORD)
    assert stranger.see("/dashboard/people").status_code == 200


def test_who_may_register_is_chosen_for_good(tmp_path_factory: pytest.TempPathFactory) -> None:
    gateway = Running(tmp_path_factory.mktemp("policy") / "data").start()
    gateway.account("admin@example.test", admin=True)
    admin, stranger = Browser(gateway.url), Browser(gateway.url)
    admin.sign_in("admin@example.test", PASSWORD)
    assert "Registration is closed" in stranger.see("/register").text
    assert admin.fill("/dashboard/people/registration", registration="open").status_code == 303
    assert 'name="email"' in stranger.see("/register").text
    gateway.stop()
    gateway.start()
    assert 'name="email"' in stranger.see("/register").text
    assert admin.fill("/dashboard/people/registration", registration="open", reset="yes").status_code == 303
    assert "Registration is closed" in stranger.see("/register").text
    for browser in (admin, stranger):
        browser.close()
    gateway.close()
    assert gateway.stop() == 0


def test_the_system_page_tells_and_backs_up(gateway: Running, admin: Browser) -> None:
    page = admin.see("/dashboard/system").text
    assert "SQLite" in page
    assert "listening" in page
    assert str(gateway.data) in page
    assert "There is no backup yet" in page
    assert admin.fill("/dashboard/system/backup").status_code == 303
    until(
        "a backup", lambda: re.search(r"gateway-\w+\.db", admin.see("/dashboard/parts/system/backups").text)
    )
    until("its line", lambda: "backup_made" in admin.see("/dashboard/parts/system/log").text)


def test_a_browser_is_logged_out_from_another(account: Account, email: str, admin: Browser) -> None:
    here, there = Browser(account.url), Browser(account.url, **{"User-Agent": "X Firefox/9 Windows"})
    for browser in (here, there):
        browser.sign_in(email, PASSWORD)
    page = here.see("/dashboard/settings").text
    assert "Firefox · Windows" in page
    [other] = re.findall(r'name="browser" value="([0-9a-f]+)"', page)
    assert admin.fill("/dashboard/settings/sign-out", browser=other).status_code == 303
    assert there.see("/dashboard").status_code == 200
    assert here.fill("/dashboard/settings/sign-out", browser=other).status_code == 303
    assert there.see("/dashboard").status_code == 303
    assert here.see("/dashboard").status_code == 200
    assert here.fill("/dashboard/settings/sign-out", browser="nonsense").status_code == 303
    for browser in (here, there):
        browser.close()


def test_only_administrators_get_in_and_every_form_needs_its_token(
    gateway: Running, admin: Browser, account: Account, email: str, stranger: Browser
) -> None:
    page = page_of(admin, email)
    forms = [
        "/dashboard/people",
        *(f"/dashboard/people/{act}" for act in ("registration", "invite", "revoke")),
        *(f"{page}/{act}" for act in ("reset", "disable", "enable", "delete")),
        "/dashboard/system/backup",
    ]
    stranger.sign_in(email, PASSWORD)
    for path in forms:
        assert stranger.fill(path).status_code == 404, path
        assert admin.http.post(path, data={"csrf": "guessed"}).status_code == 403, path
        foreign = admin.http.post(path, data={"csrf": admin.csrf}, headers={"Origin": "http://evil.example"})
        assert foreign.status_code == 403, path
    for path in ("/dashboard/people", page, "/dashboard/system", "/dashboard/parts/system"):
        assert stranger.see(path).status_code == 404, path
    for path in ("/dashboard/parts/system/log", "/dashboard/parts/system/backups"):
        assert stranger.see(path).status_code == 404, path
    assert account.ok("GET", "/auth/me")
    assert "/dashboard/people" not in stranger.see("/dashboard/settings").text


def test_the_first_steps_are_ticked_as_they_are_taken(account: Account, email: str) -> None:
    browser = Browser(account.url)
    browser.sign_in(email, PASSWORD)

    def done() -> int:
        return browser.see("/dashboard").text.count("is-done")

    assert done() == 0
    assert f"curl {account.url}/api/messages/send-text" in browser.see("/dashboard").text
    device = account.device()
    assert done() == 1
    account.send(device, "999000000010")
    assert done() == 2
    browser.fill("/dashboard/inspector")
    page = browser.see("/dashboard").text
    assert "first-steps" not in page
    assert "devices connected" in page
    browser.close()


def test_every_page_leads_an_administrator_to_what_is_wrong(start: Callable[..., Running]) -> None:
    """A database that was replaced is not only said on the page that nobody opens."""
    gateway = start()
    gateway.account("admin@example.test", admin=True)
    gateway.account("member@example.test")
    link = '<a href="/dashboard/system">What is wrong</a>'
    shown: list[bool] = []
    for _ in ("well", "replaced"):
        for email in ("admin@example.test", "member@example.test"):
            browser = Browser(gateway.url)
            browser.sign_in(email, PASSWORD)
            shown.append(link in browser.see("/dashboard/devices").text)
            assert link not in browser.see("/dashboard/system").text
            browser.close()
        assert gateway.stop() == 0
        report = {
            "at": 1_760_000_000_000,
            "road": "restored",
            "reason": "a test",
            "backupAt": 1_750_000_000_000,
        }
        (gateway.data / "gateway.db.corrupt-20251009T000000Z.json").write_text(json.dumps(report))
        gateway.start()
    assert shown == [False, False, True, False]
