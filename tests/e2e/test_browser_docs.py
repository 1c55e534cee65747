"""The documents in a real browser: code is copied, the explorer works with a key, no CSP is broken."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import NEEDS_CHROMIUM
from patience import PATIENCE_S
from playwright.sync_api import Browser, Page, expect
from running import Account, Running

SIZES = {"phone": (390, 844), "desk": (1280, 900)}
SHOWN = (
    "/docs",
    "/docs/quickstart",
    "/docs/sending",
    "/docs/webhooks",
    "/docs/reliability",
    "/docs/errors",
    "/docs/errors/device_banned",
    "/docs/decisions",
)
ARTEFACTS = Path(__file__).resolve().parents[1] / "artefacts" / "pages"

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(params=["phone-light", "phone-dark", "desk-light", "desk-dark"])
def page(request: pytest.FixtureRequest, browser: Browser, shared: Running) -> Iterator[Page]:
    """A page that must neither complain on its console nor ask another host."""
    size, _, theme = request.param.partition("-")
    width, height = SIZES[size]
    complaints: list[str] = []
    context = browser.new_context(
        base_url=shared.url,
        locale="en-GB",
        color_scheme=theme,
        viewport={"width": width, "height": height},
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.on("console", lambda m: complaints.append(m.text) if m.type in {"error", "warning"} else None)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on(
        "request",
        lambda r: None if r.url.startswith((shared.url, "data:", "blob:")) else complaints.append(r.url),
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    yield page
    context.close()
    assert complaints == []


def photograph(page: Page, name: str, request: pytest.FixtureRequest) -> None:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{name}-{request.node.callspec.id}.png")


def test_the_pages_fit_their_screen(page: Page, request: pytest.FixtureRequest) -> None:
    for path in SHOWN:
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        photograph(page, path.strip("/").replace("/", "-"), request)


@pytest.mark.parametrize("page", ["phone-light"], indirect=True)
def test_code_is_copied(page: Page) -> None:
    page.goto("/docs/quickstart")
    block = page.locator(".code-block").first
    block.get_by_role("button", name="Copy").click()
    expect(block.get_by_role("button")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == block.locator("code").text_content()
    assert "/api" in copied


@pytest.mark.parametrize("page", ["phone-dark", "desk-light"], indirect=True)
def test_the_language_of_samples_is_chosen_once(page: Page, request: pytest.FixtureRequest) -> None:
    """By mouse or keyboard, for every sample of the page and for the pages after it."""
    page.goto("/docs/sending")
    groups = page.locator(".samples")
    expect(groups.nth(0).get_by_role("tab", selected=True)).to_have_text("curl")
    expect(page.locator(".sample:visible")).to_have_count(groups.count())
    groups.nth(1).get_by_role("tab", name="Python").click()
    for index in range(groups.count()):
        expect(groups.nth(index).get_by_role("tab", selected=True)).to_have_text("Python")
        expect(groups.nth(index).get_by_role("tabpanel")).to_contain_text("urllib.request")
    page.keyboard.press("ArrowRight")
    expect(groups.nth(1).get_by_role("tab", name="PHP")).to_be_focused()
    photograph(page, "samples", request)
    page.goto("/docs/webhooks")
    expect(page.get_by_role("tab", selected=True)).to_have_text("PHP")
    block = page.locator(".sample:visible .code-block")
    block.get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == block.locator("code").text_content()


def test_samples_are_all_there_without_scripts(browser: Browser, shared: Running) -> None:
    context = browser.new_context(base_url=shared.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/docs/sending")
    shown = page.locator(".samples").first.locator(".sample:visible .sample-name")
    assert shown.all_text_contents() == ["curl", "Node", "Python", "PHP"]
    context.close()


@pytest.mark.parametrize("page", ["desk-dark"], indirect=True)
def test_code_is_copied_over_plain_http(page: Page) -> None:
    """From another machine, without TLS, a page has no clipboard interface; copying works all the same."""
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {get: () => undefined})")
    page.goto("/docs/quickstart")
    block = page.locator(".code-block").first
    block.get_by_role("button", name="Copy").click()
    expect(block.get_by_role("button")).to_have_text("Copied")
    # Pasting reads what was copied without the interface that is missing.
    page.evaluate("document.body.append(document.createElement('textarea'))")
    page.locator("textarea").focus()
    page.keyboard.press("Control+V")
    assert page.locator("textarea").input_value() == block.locator("code").text_content()


@pytest.mark.parametrize("page", ["desk-dark"], indirect=True)
def test_the_explorer_tries_it_out(page: Page, account: Account, request: pytest.FixtureRequest) -> None:
    page.goto("/api/docs")
    page.get_by_role("button", name="Authorize").click()
    page.get_by_label("apiKey-value").or_(page.locator("#api_key_value")).first.fill(account.key)
    page.locator(".auth-container").first.get_by_role("button", name="Apply credentials").click()
    page.get_by_role("button", name="Close").last.click()
    operation = page.locator("#operations-Account-getMe")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table")
    expect(answer.locator(".response-col_status").last).to_contain_text("200")
    expect(answer).to_contain_text("@example.test")
    photograph(page, "explorer", request)
