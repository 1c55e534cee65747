"""A newcomer's first minute in a real browser: register, link a sandbox, send, get a webhook, copy a key."""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from chromium import ARGUMENTS, CHROMIUM
from playwright.sync_api import Browser, Page, expect, sync_playwright
from running import Running
from watched import keep_everywhere, watched

PASSWORD = "a long enough sentence"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no /usr/bin/chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextlib.contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A webhook receiver; gives its address and the headers of what came."""
    came: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            came.append(dict(self.headers))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/wa/webhook", came
    server.shutdown()
    server.server_close()


def register(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Welcome")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Email").fill("ada@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("heading", name="Hello, Ada", level=1)).to_be_visible()
    page.get_by_role("link", name="Devices").click()
    expect(page.get_by_role("heading", name="Devices", level=1)).to_be_visible()


def log_in(page: Page) -> None:
    page.goto("/login")
    page.get_by_label("Email").fill("ada@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def link_sandbox(page: Page) -> str:
    """Makes a sandbox device and scans its code; returns the device's id."""
    page.get_by_label("Name").fill("Try-out")
    page.get_by_label("Sandbox").check()
    page.get_by_role("button", name="Add device").click()
    expect(page.locator("img.qr")).to_be_visible()
    expect(page.locator(".badge").get_by_text("Waiting for scan")).to_be_visible()
    page.get_by_role("button", name="Scan it").click()
    expect(page.locator(".badge").get_by_text("Connected", exact=True)).to_be_visible()
    expect(page.locator("img.qr")).to_have_count(0)
    return page.get_by_label("Device ID").input_value()


def send_echo(page: Page) -> None:
    """Sends to the number that echoes; the answer and the ticks appear by themselves."""
    page.get_by_role("link", name="Write a message").click()
    page.get_by_label("To").fill("not a number")
    page.get_by_label("Message", exact=True).fill("Halo <b>dunia</b>!")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("not a number")
    expect(page.get_by_label("Message", exact=True)).to_have_value("Halo <b>dunia</b>!")
    page.get_by_label("To").fill("+999 000 000 010")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".bubble.theirs", has_text="Halo <b>dunia</b>!")).to_be_visible()
    expect(page.locator(".bubbles b")).to_have_count(0)
    expect(page.locator(".bubble.ours .ticks")).to_contain_text("Read")


def add_webhook(page: Page, address: str) -> None:
    page.get_by_role("link", name="Webhooks").click()
    page.get_by_label("Address").fill(address)
    page.get_by_role("button", name="Add webhook").click()
    expect(page.get_by_text("Added.")).to_be_visible()
    page.get_by_role("button", name="Send a test event").click()
    expect(page.get_by_role("cell", name="Delivered").first).to_be_visible()


def copy_key(page: Page) -> str:
    """Copies the API key without the clipboard interface, as on a page that came over plain http."""
    page.get_by_role("link", name="Settings").click()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.evaluate("document.addEventListener('copy', () => { window.copied = String(getSelection()); })")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    shown = page.get_by_label("API key").input_value()
    assert page.evaluate("document.activeElement.value") == shown
    return shown


def test_the_first_minute(browser: Browser, start: Callable[..., Running]) -> None:
    url = start().url
    with receiver() as (address, came), watched(browser, url) as page:
        register(page)
        device_id = link_sandbox(page)
        send_echo(page)
        add_webhook(page, address)
        assert came
        assert came[0]["X-Webhook-Signature"]
        key = copy_key(page)
        devices = httpx.get(f"{url}/api/devices", headers={"X-API-Key": key}).json()["items"]
        assert [device["id"] for device in devices] == [device_id]


def test_a_state_change_shows_without_reloading(browser: Browser, start: Callable[..., Running]) -> None:
    url = start().url
    with watched(browser, url) as page:
        register(page)
        device_id = link_sandbox(page)
        key = copy_key(page)
        page.goto(f"/dashboard/devices/{device_id}")
        headers = {"X-API-Key": key}
        httpx.post(f"{url}/devices/{device_id}/disconnect", headers=headers).raise_for_status()
        expect(page.locator(".badge").get_by_text("Off", exact=True)).to_be_visible()
        httpx.post(f"{url}/devices/{device_id}/logout", headers=headers).raise_for_status()
        expect(page.get_by_text("Start linking to see a code.")).to_be_visible()
        # What is being typed must survive the parts that renew themselves around it.
        page.get_by_text("No camera?").click()
        page.get_by_label("Number of the phone to link").fill("+62 811")
        httpx.post(f"{url}/devices/{device_id}/connect", headers=headers).raise_for_status()
        expect(page.locator("img.qr")).to_be_visible()
        expect(page.get_by_label("Number of the phone to link")).to_have_value("+62 811")
        page.get_by_label("Number of the phone to link").fill("+62 811 1222 333")
        page.get_by_role("button", name="Get a code").click()
        expect(page.locator(".pair-code strong")).to_have_text(re.compile(r"^[A-Z0-9]{4}-[A-Z0-9]{4}$"))


def test_the_keyboard_alone_is_enough(browser: Browser, start: Callable[..., Running]) -> None:
    with watched(browser, start().url) as page:
        page.goto("/register")
        for text in ("Ada", "ada@example.org", PASSWORD):
            page.keyboard.type(text)
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Hello, Ada", level=1)).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.get_by_text("Skip to content")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Add a device")).to_be_focused()


def test_pages_work_without_scripts(browser: Browser, start: Callable[..., Running]) -> None:
    with watched(browser, start().url, java_script_enabled=False) as page:
        register(page)
        page.get_by_label("Name").fill("Try-out")
        page.get_by_label("Sandbox").check()
        page.get_by_role("button", name="Add device").click()
        with page.expect_navigation():
            page.get_by_role("button", name="Scan it").click()
        page.goto(page.url)
        expect(page.locator(".badge").get_by_text("Connected", exact=True)).to_be_visible()
        page.get_by_text("Delete device…").click()
        page.get_by_role("button", name="Delete for good").click()
        expect(page.get_by_text("The device was deleted.")).to_be_visible()


def test_every_page_fits_both_sizes_and_themes(browser: Browser, start: Callable[..., Running]) -> None:
    """Screenshots of every page are kept for looking at; no page may scroll sideways."""
    url = start().url
    with receiver() as (address, _), watched(browser, url) as page:
        page.goto("/register")
        keep_everywhere(page, ["register"])
        register(page)
        device_id = link_sandbox(page)
        send_echo(page)
        add_webhook(page, address)
        webhook = page.url.split("?")[0].removeprefix(url)
        page.goto("/dashboard/devices")
        page.get_by_label("Name").fill("Shop")
        page.get_by_label("Sandbox").check()
        page.get_by_role("button", name="Add device").click()
        expect(page.locator("img.qr")).to_be_visible()
        linking = page.url.removeprefix(url)
        for language in ("en", "id"):
            page.goto(f"/dashboard/devices?lang={language}")
            for name, path in {
                "devices": "/dashboard/devices",
                "linking": linking,
                "device": f"/dashboard/devices/{device_id}",
                "messages": "/dashboard/messages",
                "webhooks": "/dashboard/webhooks",
                "webhook": webhook,
                "settings": "/dashboard/settings",
            }.items():
                page.goto(path)
                keep_everywhere(page, [name, language])
