"""The browser of the browser tests: the system's Chromium, headless and without traffic of its own."""

import shutil

import pytest
from patience import PATIENCE_S
from playwright.sync_api import Page, expect

# Playwright's own five seconds end before a list that looks every five has looked.
expect.set_options(timeout=PATIENCE_S * 1000)

CHROMIUM = shutil.which("chromium")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no /usr/bin/chromium: apt-get install chromium")
PASSWORD = "a long password"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def log_in(page: Page, email: str) -> None:
    """Sign in to an account that the tests made, and wait for the first page."""
    page.goto("/login")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Hello")
