"""What axe-core, the accessibility checker, finds on a page in a real browser."""

from typing import Any

import node_packages
from playwright.sync_api import Page

_GRAVE = ("serious", "critical")
# No preloading: axe would fetch the style sheets once more. Frames there are none.
_RUN = """(rules) => axe.run({
  resultTypes: ["violations"], preload: false, iframes: false, elementRef: false,
  ...(rules.length ? {runOnly: rules} : {}),
})"""


class Axe:
    """The checker's script, read once for many pages."""

    def __init__(self) -> None:
        self._script = (node_packages.install() / "axe-core" / "axe.min.js").read_text("utf-8")

    def findings(self, page: Page, only: tuple[str, ...] = (), besides: tuple[str, ...] = ()) -> list[str]:
        """One line for each serious or critical rule that the page breaks, `besides` these; of all rules,
        or `only` of those."""
        page.evaluate(f"() => {{ {self._script} }}")
        found = page.evaluate(_RUN, list(only))["violations"]
        return [_line(rule) for rule in found if rule["impact"] in _GRAVE and rule["id"] not in besides]


def _line(rule: Any) -> str:
    places = "; ".join(f"{node['target'][0]}: {node['failureSummary']}" for node in rule["nodes"][:3])
    return f"axe {rule['impact']} {rule['id']} ({len(rule['nodes'])}×): {places}"
