"""A newcomer's first minute in a real browser: by mouse, by keyboard alone, without scripts, with a phone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import httpx
import pytest
from chromium import NEEDS_CHROMIUM
from hook import Hook, receiving
from loopback.patch import can_patch
from loopback.server import LoopbackServer
from playwright.sync_api import Browser, Locator, Page, expect
from running import Running, until
from watched import watched

PASSWORD = "a long enough sentence"

pytestmark = NEEDS_CHROMIUM


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
    with receiving() as hook, watched(browser, url) as page:
        register(page)
        device_id = link_sandbox(page)
        send_echo(page)
        add_webhook(page, hook.url)
        assert hook.posts[0].headers["x-webhook-signature"]
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


class Keys:
    """Hands that never touch the mouse: Tab until something has the focus, then a key."""

    MOST_TABS = 80

    def __init__(self, page: Page) -> None:
        self.page = page

    def find(self, wanted: Locator) -> None:
        for _ in range(self.MOST_TABS):
            if wanted.evaluate("each => each === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"{self.MOST_TABS} times Tab do not reach {wanted}")

    def enter(self, role: Literal["link", "button"], name: str) -> None:
        self.find(self.page.get_by_role(role, name=name, exact=True).first)
        self.page.keyboard.press("Enter")

    def write(self, label: str, text: str) -> None:
        self.find(self.page.get_by_label(label, exact=True))
        self.page.keyboard.type(text)


def register_by_keys(keys: Keys, token: str) -> None:
    """From another machine: the setup token is asked for first, and has the focus."""
    page = keys.page
    page.goto("/")
    expect(page.get_by_label("Setup token")).to_be_focused()
    keys.write("Setup token", token)
    for label, text in (("Your name", "Ada"), ("Email", "ada@example.org"), ("Password", PASSWORD)):
        keys.write(label, text)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Hello, Ada", level=1)).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Add a device")).to_be_focused()
    page.keyboard.press("Enter")


def link_by_keys(keys: Keys) -> None:
    page = keys.page
    keys.write("Name", "Try-out")
    keys.find(page.get_by_label("WhatsApp Link a phone"))
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("Sandbox")).to_be_checked()
    keys.enter("button", "Add device")
    expect(page.locator("img.qr")).to_be_visible()
    keys.enter("button", "Scan it")
    expect(page.locator(".badge").get_by_text("Connected", exact=True)).to_be_visible()


def send_by_keys(keys: Keys) -> None:
    page = keys.page
    keys.enter("link", "Write a message")
    keys.write("To", "999000000010")
    keys.write("Message", "Halo!")
    keys.enter("button", "Send")
    expect(page.locator(".bubble.theirs", has_text="Halo!")).to_be_visible()
    expect(page.locator(".bubble.ours .ticks")).to_contain_text("Read")


def inspect_by_keys(keys: Keys) -> None:
    page = keys.page
    keys.enter("link", "Webhooks")
    keys.enter("link", "Open the inspector")
    keys.enter("button", "Show me a request")
    request = page.locator("details.attempt")
    expect(request).to_contain_text("This is a test of your webhook.")
    expect(request.get_by_role("rowheader", name="X-Webhook-Signature")).to_be_visible()


def mend_by_keys(keys: Keys, hook: Hook) -> None:
    """A webhook whose receiver fails, is mended, and gets what it missed."""
    page = keys.page
    keys.enter("link", "Webhooks")
    keys.write("Address", hook.url)
    page.keyboard.press("Enter")
    keys.enter("button", "Send a test event")
    expect(page.get_by_role("cell", name="Will retry")).to_be_visible()
    expect(page.get_by_role("cell", name="Answered 500")).to_be_visible()
    hook.status = 200
    keys.enter("link", "message.received")
    keys.enter("button", "Deliver again")
    expect(page.get_by_text("Delivered", exact=True)).to_be_visible()
    assert len(hook.posts) >= 2


def test_the_first_minute_by_keyboard_alone(browser: Browser, start: Callable[..., Running]) -> None:
    gateway = start(settings={"webhooks.allow": ["loopback"]})
    token = (gateway.data / "setup-token").read_text("ascii").strip()
    elsewhere = {"X-Forwarded-For": "192.0.2.7"}
    with (
        receiving(500, b"out of order") as hook,
        watched(browser, gateway.url, extra_http_headers=elsewhere) as page,
    ):
        keys = Keys(page)
        register_by_keys(keys, token)
        link_by_keys(keys)
        send_by_keys(keys)
        inspect_by_keys(keys)
        mend_by_keys(keys, hook)


@pytest.mark.skipif(not can_patch(), reason="leading a program to the loopback network needs root")
def test_a_phone_scans_the_code_that_counts_down(
    browser: Browser, start: Callable[..., Running], tmp_path: Path
) -> None:
    with LoopbackServer(tmp_path / "net") as net:
        net.add_account("628111000111", "Ada")
        gateway = start(settings={"engine.proxy": net.proxy_url}, environment=net.client_env())
        with watched(browser, gateway.url) as page:
            register(page)
            page.get_by_label("Name").fill("Shop")
            page.get_by_role("button", name="Add device").click()
            expect(page.locator("img.qr")).to_be_visible()
            expect(page.locator(".countdown .ring .left")).to_be_visible()
            expect(page.get_by_role("button", name="Scan it")).to_have_count(0)
            key = copy_key(page)
            device = httpx.get(f"{gateway.url}/devices", headers={"X-API-Key": key}).json()["items"][0]["id"]
            page.goto(f"/dashboard/devices/{device}")
            code = f"{gateway.url}/devices/{device}/qr?format=json"

            def scanned() -> bool:
                shown = httpx.get(code, headers={"X-API-Key": key})
                if shown.is_success:
                    net.scan("628111000111", shown.json()["qr"])
                return shown.is_success

            until("a code to scan", scanned)
            connected = page.locator(".badge").get_by_text("Connected", exact=True)
            expect(connected).to_be_visible()
            expect(page.get_by_text("+628111000111").first).to_be_visible()


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
