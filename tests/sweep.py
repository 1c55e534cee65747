"""A look at every page as one kind of visitor sees it, and all that may be wrong with a page."""

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from axe import Axe
from patience import PATIENCE_S
from playwright.sync_api import Browser, BrowserContext
from watched import ARTEFACTS, SIZES, Watch

PICTURES = Path(os.environ.get("PICTURES") or ARTEFACTS.with_name("sweep"))
_REPORT = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`));
"""
_TELL = """() => ({
  title: document.title,
  lang: document.documentElement.lang,
  over: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  violations: window.violations,
  scripts: document.scripts.length,
})"""
# What Tab must reach: of radio buttons with one name only the chosen or, without one, the first. Each is
# named by its text, and its number among those with the same: a part may be shown anew meanwhile.
_TABBABLE = """() => {
  const radios = new Set();
  const all = "a[href], button, input, select, textarea, summary, [tabindex='0']";
  const found = [...document.querySelectorAll(all)].filter((each) => {
    if (each.disabled || each.tabIndex < 0 || !each.checkVisibility({visibilityProperty: true})) return false;
    if (each.type !== "radio") return each.type !== "hidden";
    const chosen = document.querySelector(`[name="${each.name}"]:checked`);
    const counts = chosen ? chosen === each : !radios.has(each.name);
    radios.add(each.name);
    return counts;
  });
  const counts = {};
  window.tabbable = new Map(found.map((each) => {
    const html = each.outerHTML.slice(0, 140);
    counts[html] = (counts[html] ?? 0) + 1;
    return [each, `${html} (${counts[html]})`];
  }));
  return [...window.tabbable.values()];
}"""
_FOCUSED = """() => {
  const each = document.activeElement;
  if (each === document.body) return null;
  const drawn = (style) => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  const label = each.closest("label");
  const shown = drawn(getComputedStyle(each)) || drawn(getComputedStyle(each, "::after"))
    || (label !== null && drawn(getComputedStyle(label)));
  const box = (label ?? each).getBoundingClientRect();
  const inside = box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight;
  return {name: window.tabbable.get(each), shown, inside, html: each.outerHTML.slice(0, 90)};
}"""


class Look(msgspec.Struct, frozen=True):
    """How somebody looks at the pages: on which screen, in which colours, in which language. Only a thorough
    look presses Tab and keeps the checker's other rules than those of colour: the rest is the same pages."""

    size: str
    theme: str
    language: str
    is_thorough: bool = False

    def __str__(self) -> str:
        return f"{self.size}-{self.theme}-{self.language}"


class Place(msgspec.Struct, frozen=True):
    """A page to be looked at. `is_walked`: Tab is pressed until all of it was reached; `may_break`: rules of
    the checker that only somebody else's code could keep."""

    name: str
    path: str
    status: int = 200
    is_walked: bool = False
    may_break: tuple[str, ...] = ()


class Sweep:
    """Looks at pages one after the other and keeps a picture of each; `wrong` says what was wrong."""

    def __init__(self, context: BrowserContext, look: Look, axe: Axe, url: str) -> None:
        self.wrong: list[str] = []
        self._context = context
        self._url = url
        self._axe = axe
        self._look = look
        self._rules = () if look.is_thorough else ("color-contrast",)
        self._watch = Watch(context, url)
        self._titles: dict[str, str] = {}
        context.add_init_script(_REPORT)
        self._page = context.new_page()

    def sign_in(self, cookies: dict[str, str]) -> None:
        """Be somebody else from now on: with these cookies, and no others but the language's."""
        self._context.clear_cookies()
        kept = {**cookies, "lang": self._look.language}
        self._context.add_cookies(
            [{"name": name, "value": value, "url": self._url} for name, value in kept.items()]
        )

    def visit(self, places: list[Place]) -> None:
        for place in places:
            before = len(self._watch.complaints)
            answer = self._page.goto(place.path)
            assert answer is not None
            wrong = [] if answer.status == place.status else [f"answered {answer.status}"]
            self._settle()
            wrong += self._said(place)
            wrong += self._axe.findings(self._page, self._rules, place.may_break)
            self._keep(place)
            if place.is_walked and self._look.is_thorough:
                wrong += list(self._unreached())
            # That a page answers 404 is what was asked for; the browser notes it all the same.
            heard = self._watch.complaints[before:]
            wrong += [each for each in heard if not (place.status >= 400 and "Failed to load" in each)]
            self.wrong += [f"{place.name} ({self._look}): {each}" for each in wrong]

    def _settle(self) -> None:
        """The explorer draws itself; every other page is there when it is loaded."""
        if self._page.locator("#explorer").count():
            self._page.locator(".opblock").first.wait_for()

    def _said(self, place: Place) -> Iterator[str]:
        told: Any = self._page.evaluate(_TELL)
        if told["lang"] != self._look.language:
            yield f"lang is {told['lang']!r}"
        if told["over"] > 0:
            yield f"{told['over']} px too wide"
        page = told["title"] if place.status >= 400 else _page_of(place.path)
        if (other := self._titles.setdefault(told["title"], page)) != page:
            yield f"has the title of {other}: {told['title']!r}"
        yield from (f"CSP: {each}" for each in told["violations"])

    def _keep(self, place: Place) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self._page.screenshot(path=PICTURES / f"{place.name}-{self._look}.png", full_page=True)

    def _unreached(self) -> Iterator[str]:
        """Press Tab once for each thing that can be used: what it misses, and what shows no focus."""
        wanted: list[str] = self._page.evaluate(_TABBABLE)
        reached: set[str | None] = set()
        for _ in range(len(wanted) + 3):
            self._page.keyboard.press("Tab")
            at: Any = self._page.evaluate(_FOCUSED)
            if at is None:
                continue
            if at["name"] is None:
                self._page.evaluate(_TABBABLE)
                at = self._page.evaluate(_FOCUSED) or at
            reached.add(at["name"])
            if not at["shown"]:
                yield f"no visible focus: {at['html']}"
            if not at["inside"]:
                yield f"focus is out of sight: {at['html']}"
        missed = [name for name in wanted if name not in reached]
        yield from (f"Tab does not reach {html}" for html in itertools.islice(missed, 5))


def _page_of(path: str) -> str:
    """The page without what is asked of it and without an invitation's secret."""
    return re.sub(r"\?.*|(?<=/register)/.*", "", path)


@contextmanager
def sweeping(
    browser: Browser, look: Look, axe: Axe, url: str, headers: dict[str, str] | None = None
) -> Iterator[Sweep]:
    """A browser of its own for one look at the gateway at `url`; it sends `headers` beside its own."""
    width, height = SIZES[look.size]
    context = browser.new_context(
        base_url=url,
        extra_http_headers=headers or {},
        locale=look.language,
        reduced_motion="reduce",
        color_scheme="dark" if look.theme == "dark" else "light",
        viewport={"width": width, "height": height},
    )
    context.set_default_timeout(PATIENCE_S * 1000)
    yield Sweep(context, look, axe, url)
    context.close()
