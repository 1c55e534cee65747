"""Settings, people and system in a real browser: themes, invite links, disabling, a backup, plain http."""

from collections.abc import Callable

from chromium import NEEDS_CHROMIUM, PASSWORD, log_in
from playwright.sync_api import Browser, expect
from running import Running
from watched import keep_everywhere, watched

pytestmark = NEEDS_CHROMIUM


def test_somebody_is_invited_and_disabled(browser: Browser, start: Callable[..., Running]) -> None:
    gateway = start()
    gateway.account("admin@example.test", admin=True)
    with watched(browser, gateway.url) as page, watched(browser, gateway.url) as other:
        log_in(page, "admin@example.test")
        keep_everywhere(page, ["home"])
        page.get_by_role("link", name="Settings").first.click()
        page.get_by_role("link", name="People").click()
        page.get_by_role("button", name="Make an invite link").click()
        link = page.get_by_label("Link").input_value()
        keep_everywhere(page, ["people"])
        other.goto(link)
        other.get_by_label("Your name").fill("Bob")
        other.get_by_label("Email").fill("bob@example.test")
        other.get_by_label("Password").fill(PASSWORD)
        other.get_by_role("button", name="Create account").click()
        expect(other.get_by_role("heading", name="Hello, Bob")).to_be_visible()
        other.goto("/dashboard/settings")
        page.goto("/dashboard/people")
        page.get_by_role("link", name="Bob").click()
        keep_everywhere(page, ["person"])
        page.get_by_role("button", name="Disable").click()
        expect(page.get_by_text("Disabled", exact=True)).to_be_visible()
        other.reload()
        expect(other.get_by_role("heading", name="Log in")).to_be_visible()


def test_a_backup_is_made_while_one_looks_on(browser: Browser, start: Callable[..., Running]) -> None:
    gateway = start()
    gateway.account("admin@example.test", admin=True)
    with watched(browser, gateway.url) as page:
        log_in(page, "admin@example.test")
        page.goto("/dashboard/system")
        expect(page.get_by_text("There is no backup yet.")).to_be_visible()
        page.get_by_role("button", name="Make one now").click()
        expect(page.locator("#backups tbody tr")).to_have_count(1)
        expect(page.locator("pre.log")).to_contain_text("backup_made")
        keep_everywhere(page, ["system"])


def test_the_theme_that_was_chosen_holds_everywhere(browser: Browser, shared: Running) -> None:
    shared.account("theme@example.test")
    with watched(browser, shared.url, color_scheme="light") as page:
        log_in(page, "theme@example.test")
        page.goto("/dashboard/settings")

        def ground() -> str:
            return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

        light = ground()
        page.get_by_role("link", name="Dark").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        dark = ground()
        assert dark != light
        for path in ("/dashboard", "/docs"):
            page.goto(path)
            assert ground() == dark
        page.goto("/dashboard/settings")
        page.get_by_role("link", name="As the system").click()
        page.goto("/dashboard")
        assert ground() == light
        page.emulate_media(color_scheme="dark")
        assert ground() == dark
        page.goto("/docs")
        page.get_by_role("link", name="Dashboard").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Hello")
