"""The dashboard over HTTP: who gets in, whose forms are taken, what its answers carry, what stays typed."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from running import Running, running

PASSWORD = "a long enough sentence"
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


class Visitor:
    """A browser without scripts: keeps cookies, sends Origin, fills forms with the token of the last page."""

    def __init__(self, url: str, **headers: str) -> None:
        self.http = httpx.Client(base_url=url, headers={"Origin": url, **headers})
        self.email = f"{time.time_ns()}@example.org"
        self.csrf = ""

    def see(self, path: str, **more: Any) -> httpx.Response:
        answer = self.http.get(path, **more)
        if found := _CSRF.search(answer.text):
            self.csrf = found[1]
        return answer

    def fill(self, path: str, sent: dict[str, str] | None = None, /, **fields: str) -> httpx.Response:
        """Send the form; `sent` are headers."""
        return self.http.post(path, data={"csrf": self.csrf, **fields}, headers=sent)

    def register(self, **fields: str) -> httpx.Response:
        self.see("/register")
        typed = {"name": "Ada", "email": self.email, "password": PASSWORD}
        return self.fill("/register", **(typed | fields))

    def log_in(self, password: str = PASSWORD) -> httpx.Response:
        self.see("/login")
        return self.fill("/login", email=self.email, password=password)


Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One gateway that anybody may register on."""
    data = tmp_path_factory.mktemp("dashboard") / "data"
    with running(data, settings={"accounts.registration": "open", "webhooks.allow": ["loopback"]}) as gateway:
        yield gateway


@pytest.fixture
def visit() -> Iterator[Visit]:
    """Opens browsers: `visit(url, **headers)`; they are closed at the end."""
    with contextlib.ExitStack() as opened:

        def begin(url: str, **headers: str) -> Visitor:
            visitor = Visitor(url, **headers)
            opened.enter_context(visitor.http)
            return visitor

        yield begin


@pytest.fixture
def visitor(gateway: Running, visit: Visit) -> Visitor:
    return visit(gateway.url)


@pytest.fixture
def member(visitor: Visitor) -> Visitor:
    """Somebody with an account of their own, on the first page."""
    assert visitor.register().headers["location"] == "/dashboard"
    visitor.see("/dashboard/devices")
    return visitor


def test_the_front_door_leads_to_the_right_page(start: Callable[..., Running], visit: Visit) -> None:
    visitor = visit(start().url)
    assert visitor.see("/").headers["location"] == "/register"
    visitor.register()
    assert visitor.see("/").headers["location"] == "/dashboard"
    visitor.http.cookies.clear()
    assert visitor.see("/").headers["location"] == "/login"
    assert visitor.see("/dashboard/settings").headers["location"] == "/login?next=/dashboard/settings"


@pytest.mark.parametrize("path", ["/login", "/register", "/dashboard/nowhere"])
def test_every_page_carries_the_strict_headers(visitor: Visitor, path: str) -> None:
    answer = visitor.see(path)
    assert answer.status_code == (404 if "nowhere" in path else 200)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", answer.text)


def test_the_first_account_takes_the_token_unless_at_this_machine(
    start: Callable[..., Running], visit: Visit
) -> None:
    gateway = start()
    for elsewhere in (
        {"X-Forwarded-For": "10.1.2.3"},
        {"Forwarded": "for=10.1.2.3"},
        {"Host": "evil.example"},
    ):
        stranger = visit(gateway.url, **elsewhere)
        if "Host" in elsewhere:
            stranger.http.headers["Origin"] = "http://evil.example"
        answer = stranger.register()
        assert answer.status_code == 422, elsewhere
        assert 'name="setup_token"' in answer.text
        assert "not the setup token" in answer.text
    token = (gateway.data / "setup-token").read_text()
    answer = stranger.register(setup_token=token)
    assert answer.status_code == 303
    assert not (gateway.data / "setup-token").exists()
    late = visit(gateway.url)
    assert "Registration is closed" in late.see("/register").text
    late.see("/login")
    typed = {"name": "Bob", "email": late.email, "password": PASSWORD, "setup_token": token}
    answer = late.fill("/register", **typed)
    assert answer.status_code == 422
    assert "Registration is closed" in answer.text


def test_bad_input_keeps_what_was_typed_but_never_a_password(visitor: Visitor) -> None:
    answer = visitor.register(email='"><b>x', password="short")
    assert answer.status_code == 422
    assert 'value="Ada"' in answer.text
    assert 'value="&#34;&gt;&lt;b&gt;x"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert "short" not in answer.text


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "https://127.0.0.1:{port}"])
def test_a_form_from_another_origin_is_refused(member: Visitor, gateway: Running, origin: str | None) -> None:
    del member.http.headers["Origin"]
    headers = {"Origin": origin.format(port=gateway.port)} if origin else {}
    assert member.fill("/dashboard/devices", headers, name="Shop").status_code == 403


def test_a_form_without_its_token_is_refused_on_every_post(member: Visitor) -> None:
    id_ = "c" + "0" * 24
    for path in (
        "/login",
        "/register",
        "/logout",
        "/dashboard/devices",
        *(
            f"/dashboard/devices/{id_}/{act}"
            for act in ("connect", "disconnect", "unlink", "rename", "delete")
        ),
        *(f"/dashboard/devices/{id_}/{act}" for act in ("code", "scan")),
        "/dashboard/webhooks",
        *(f"/dashboard/webhooks/{id_}/{act}" for act in ("test", "enable", "delete")),
        *(f"/dashboard/settings/{act}" for act in ("reveal", "rotate", "password", "sign-out-others")),
    ):
        assert member.http.post(path, data={"csrf": "guessed"}).status_code == 403, path
        assert member.http.post(path, json={"csrf": member.csrf}).status_code == 415, path
    assert member.see("/dashboard/settings").status_code == 200


def test_the_cookie_cannot_be_chosen_and_ends_with_the_login(gateway: Running, visitor: Visitor) -> None:
    visitor.http.cookies.set("wa", "chosen-by-somebody", domain="127.0.0.1")
    visitor.register()
    cookie = visitor.http.cookies["wa"]
    assert cookie != "chosen-by-somebody"
    visitor.see("/dashboard/devices")
    answer = visitor.fill("/logout")
    assert answer.headers["location"] == "/login"
    replay = httpx.get(f"{gateway.url}/dashboard/devices", cookies={"wa": cookie})
    assert replay.status_code == 303
    first = visitor.log_in().cookies["wa"]
    assert first not in {cookie, "chosen-by-somebody"}


def test_cookie_attributes(visitor: Visitor) -> None:
    cookies = visitor.register().headers.get_list("set-cookie")
    session = next(cookie for cookie in cookies if cookie.startswith("wa="))
    assert "HttpOnly" in session
    assert "SameSite=lax" in session
    assert "Path=/" in session
    assert "Secure" not in session


def test_behind_tls_the_cookie_is_bound_to_the_host(start: Callable[..., Running], visit: Visit) -> None:
    gateway = start(settings={"server.public_url": "https://wa.example"})
    visitor = visit(gateway.url, Host="wa.example")
    visitor.http.headers["Origin"] = "https://wa.example"
    page = visitor.see("/register")
    form = next(c for c in page.headers.get_list("set-cookie") if c.startswith("__Host-wa-form="))
    assert "Secure" in form
    assert "came over plain http" not in page.text
    token = (gateway.data / "setup-token").read_text()
    fields = {"name": "Ada", "email": visitor.email, "password": PASSWORD, "setup_token": token}
    # httpx keeps no Secure cookie for plain http, where the proxy would have been.
    headers = {"Cookie": form.partition(";")[0]}
    answer = visitor.fill("/register", headers, **fields)
    assert answer.status_code == 303
    session = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("__Host-wa="))
    assert "Secure" in session


def test_plain_http_from_elsewhere_is_warned_about(gateway: Running, visit: Visit) -> None:
    assert "came over plain http" in visit(gateway.url, Host="gateway.lan").see("/login").text
    assert "came over plain http" not in visit(gateway.url).see("/login").text


def test_wrong_passwords_end_in_a_wait(visitor: Visitor) -> None:
    visitor.register()
    visitor.http.cookies.clear()
    assert "not right" in visitor.log_in("wrong").text
    for _ in range(9):
        visitor.log_in("wrong")
    assert "Too many attempts" in visitor.log_in().text


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/dashboard/webhooks", "/dashboard/webhooks"),
        ("//evil.example/dashboard", "/dashboard"),
        ("https://evil.example", "/dashboard"),
        ("/dashboard/..\\evil", "/dashboard"),
        ("", "/dashboard"),
    ],
)
def test_login_leads_on_only_within_the_dashboard(member: Visitor, path: str, leads_to: str) -> None:
    member.http.cookies.clear()
    page = member.see("/login", params={"next": path})
    assert page.status_code == 200
    answer = member.fill("/login", email=member.email, password=PASSWORD, next=path)
    assert answer.headers["location"] == leads_to


def test_settings_show_the_key_that_the_api_takes_and_rotate_it(member: Visitor, gateway: Running) -> None:
    def key() -> str:
        found = re.search(r'id="api-key"[^>]* value="([0-9a-f]{64})"', member.see("/dashboard/settings").text)
        assert found
        return found[1]

    def works(key: str) -> bool:
        answer = httpx.get(f"{gateway.url}/auth/me", headers={"X-API-Key": key})
        return answer.status_code == 200

    old = key()
    assert works(old)
    assert member.fill("/dashboard/settings/rotate").status_code == 303
    new = key()
    assert works(new)
    assert not works(old)


def test_a_changed_password_signs_other_browsers_out(member: Visitor, gateway: Running, visit: Visit) -> None:
    other = visit(gateway.url)
    other.email = member.email
    other.log_in()
    assert other.see("/dashboard/devices").status_code == 200
    fresh = {"new_password": "another sentence", "new_password_again": "another sentence"}
    wrong = member.fill("/dashboard/settings/password", password="not it", **fresh)
    assert wrong.status_code == 422
    assert "not your password" in wrong.text
    assert member.fill("/dashboard/settings/password", password=PASSWORD, **fresh).status_code == 303
    assert member.see("/dashboard/devices").status_code == 200
    assert other.see("/dashboard/devices").status_code == 303
    assert other.log_in("another sentence").status_code == 303


def test_somebody_elses_things_are_not_there(member: Visitor, gateway: Running, visit: Visit) -> None:
    account = gateway.account()
    device = account.device()
    stranger = visit(gateway.url)
    stranger.register()
    stranger.see("/dashboard/webhooks")
    nowhere = {"url": "http://127.0.0.1:59999/", "events": "message.received", "chat_kinds": "direct"}
    answer = stranger.fill("/dashboard/webhooks", **nowhere)
    assert answer.status_code == 303, answer.text
    webhook = answer.headers["location"].removeprefix("/dashboard/webhooks/").partition("?")[0]
    for path in (
        f"/dashboard/devices/{device}",
        f"/dashboard/parts/devices/{device}/state",
        f"/dashboard/parts/devices/{device}/qr",
        f"/dashboard/parts/devices/{device}/link",
        f"/dashboard/webhooks/{webhook}",
        f"/dashboard/parts/webhooks/{webhook}/deliveries",
    ):
        assert member.see(path).status_code == 404, path
    for path in (
        *(f"/dashboard/devices/{device}/{a}" for a in ("connect", "disconnect", "unlink", "delete", "scan")),
        *(f"/dashboard/webhooks/{webhook}/{a}" for a in ("test", "enable", "delete")),
    ):
        assert member.fill(path).status_code == 404, path
    assert account.ok("GET", f"/devices/{device}")["status"] == "CONNECTED"
    account.http.close()


def test_a_part_that_did_not_change_moves_nothing(member: Visitor) -> None:
    part = member.see("/dashboard/parts/devices")
    assert part.status_code == 200
    seen = re.search(r'name="seen" value="([0-9a-f]+)"', part.text)
    assert seen
    assert member.see("/dashboard/parts/devices", params={"seen": seen[1]}).status_code == 204
    assert member.fill("/dashboard/devices", name="Shop", kind="sandbox").status_code == 303
    changed = member.see("/dashboard/parts/devices", params={"seen": seen[1]})
    assert "Shop" in changed.text


def test_a_part_leads_to_the_login_when_the_session_is_over(visitor: Visitor) -> None:
    answer = visitor.see("/dashboard/parts/devices", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/login"


def test_who_has_no_device_is_led_to_making_one(member: Visitor) -> None:
    answer = member.see("/dashboard/messages/new")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/devices")


def test_what_came_from_outside_is_never_html(member: Visitor, gateway: Running) -> None:
    evil = '<img src=x onerror="alert(1)">'
    assert member.fill("/dashboard/devices", name=evil, kind="sandbox").status_code == 303
    for path in ("/dashboard/devices", "/dashboard/messages/new"):
        text = member.see(path).text
        assert "&lt;img src=x" in text
        assert "<img src=x" not in text


def test_languages_by_header_switch_and_cookie(visitor: Visitor) -> None:
    assert '<html lang="en">' in visitor.see("/login").text
    assert '<html lang="id">' in visitor.see("/login", headers={"Accept-Language": "id-ID,en;q=0.8"}).text
    assert (
        '<html lang="en">' in visitor.see("/login", headers={"Accept-Language": "de,en;q=0.8,id;q=0.5"}).text
    )
    assert '<html lang="id">' in visitor.see("/login", params={"lang": "id"}).text
    assert '<html lang="id">' in visitor.see("/login").text
    assert '<html lang="en">' in visitor.see("/login", params={"lang": "en"}).text


def test_static_files_are_kept_for_ever_under_their_digest_only(visitor: Visitor) -> None:
    page = visitor.see("/login").text
    for url in re.findall(r'(?:href|src)="(/dashboard/static/[^"]+)"', page):
        answer = visitor.http.get(url)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert visitor.http.get(url.split("?")[0]).headers["cache-control"] == "no-cache"
    for path in ("nothing.css", "../templates/base.html", "..%2ftemplates%2fbase.html"):
        assert visitor.http.get(f"/dashboard/static/{path}").status_code == 404
