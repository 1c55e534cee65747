"""Many tabs of one browser: those that nobody sees keep no connection, and are up to date when shown."""

from collections.abc import Callable

from chromium import NEEDS_CHROMIUM, log_in
from playwright.sync_api import Browser, Page, expect
from running import Running
from watched import watched

MORE_THAN_CONNECTIONS = 8
# Chromium without a screen holds every tab for visible: the tabs are told what a screen would make of them.
SHOW = """
window.show = (seen) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => !seen });
  document.dispatchEvent(new Event("visibilitychange"));
};
"""

pytestmark = NEEDS_CHROMIUM


def show(page: Page, *, seen: bool) -> None:
    page.evaluate(f"window.show({'true' if seen else 'false'})")


def test_tabs_beyond_the_browsers_connections_open_and_stay_true(
    browser: Browser, start: Callable[..., Running]
) -> None:
    gateway = start()
    account = gateway.account("tabs@example.test")
    with watched(browser, gateway.url) as first:
        first.context.add_init_script(SHOW)
        log_in(first, "tabs@example.test")
        first.goto("/dashboard/devices")
        for _ in range(MORE_THAN_CONNECTIONS):
            show(first.context.pages[-1], seen=False)
            first.context.new_page().goto("/dashboard/devices")
        last = first.context.pages[-1]
        account.device(name="Till")
        expect(last.get_by_role("link", name="Till")).to_be_visible()
        expect(first.get_by_role("link", name="Till")).to_have_count(0)
        show(last, seen=False)
        show(first, seen=True)
        expect(first.get_by_role("link", name="Till")).to_be_visible()
        account.device(name="Van")
        expect(first.get_by_role("link", name="Van")).to_be_visible()
