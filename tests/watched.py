"""A page in a real browser that must not complain, and screenshots of it for looking at."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from patience import PATIENCE_S
from playwright.sync_api import Browser, BrowserContext, Page

SIZES = {"phone": (390, 844), "desk": (1280, 800)}
ARTEFACTS = Path(__file__).resolve().parent / "artefacts" / "pages"


class Watch:
    """Everything a page must not do: complain on the console, break its CSP, ask another host."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.complaints: list[str] = []
        self._url = url
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("request", self._on_request)

    def _on_console(self, message: Any) -> None:
        # A form that was refused answers 422: the browser notes that as an error, and it is none.
        if message.type in {"error", "warning"} and "422" not in message.text:
            self.complaints.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((self._url, "data:")):
            self.complaints.append(f"asked {request.url}")


@contextlib.contextmanager
def watched(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A page in a browser of its own, which must not complain."""
    context = browser.new_context(base_url=url, locale="en-GB", **options)
    watch = Watch(context, url)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    yield page
    context.close()
    assert watch.complaints == [], watch.complaints


def keep_everywhere(page: Page, name: list[str]) -> None:
    """A screenshot in each size and theme, after checking that nothing sticks out."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            over = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert over <= 0, f"{name} is {over} px too wide at {width} px"
            page.screenshot(path=ARTEFACTS / f"{'-'.join([*name, size, theme])}.png", full_page=True)
