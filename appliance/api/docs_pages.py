"""The manual: Markdown files of `web/docs`, as pages for people and as text for programs.

Where a file says `https://wa.example.com`, a reader finds the address of this very gateway.
"""

import html
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from appliance import __version__
from appliance.api import problems
from appliance.api.docs_markup import SAMPLE_LANGUAGES, markdown, plain
from appliance.api.docs_reference import reference
from appliance.assets import DEFAULT_LANGUAGE

ADDRESS = "https://wa.example.com"
CHAPTERS = {
    "using": (
        *("index", "quickstart", "sending", "webhooks", "events"),
        *("reading", "rate-limits", "sandbox", "errors"),
    ),
    "running": ("install", "configuration", "commands", "backup", "upgrading", "monitoring", "logs"),
    "knowing": ("about", "reliability", "decisions", "changelog"),
}
"""The pages by what their readers want, each chapter in the order in which it is read."""
NAMES = tuple(name for names in CHAPTERS.values() for name in names)

_NOT_IN_ONE_FILE = {"index", "errors"}
_HEADING = re.compile(r"^(#{1,4}) ", re.MULTILINE)
_SAMPLES = re.compile(r"^```samples\n([\w-]+)\n```$", re.MULTILINE)


class Section(msgspec.Struct, frozen=True):
    """A heading of a page, and where it stands."""

    anchor: str
    title: str


class Page(msgspec.Struct, frozen=True):
    """A page: its title, its HTML without the title, and its sections."""

    name: str
    title: str
    body: str
    sections: list[Section]


class ErrorPage(msgspec.Struct, frozen=True):
    """What one error code means; `summary` is the first sentence of `body` (both HTML)."""

    code: str
    status: int
    title: str
    retryable: bool
    summary: str
    body: str


class Manual:
    """Renders the files below `folder`. Everything it gives still says ADDRESS: `at` puts the real one in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spec = (folder / "openapi.json").read_text("utf-8")
        self._markdown = markdown()
        self._pages: dict[tuple[str, str], Page] = {}
        self._errors: dict[str, list[ErrorPage]] = {}
        self._full = ""

    @property
    def spec(self) -> str:
        """The OpenAPI description as JSON."""
        return self._spec

    def page(self, language: str, name: str) -> Page | None:
        """The page in that language, or in English where it is not translated."""
        if name not in NAMES:
            return None
        if (language, name) not in self._pages:
            self._pages[language, name] = self._rendered(name, self.source(language, name))
        return self._pages[language, name]

    def contents(self, language: str) -> dict[str, list[Section]]:
        """Every page's name and title by chapter, for finding one's way."""
        return {
            chapter: [Section(name, self._title(language, name)) for name in names]
            for chapter, names in CHAPTERS.items()
        }

    def source(self, language: str, name: str) -> str:
        """The page as Markdown, with the samples that it names."""
        places = (self._folder / language, self._folder / DEFAULT_LANGUAGE, self._folder)
        file = next(place / f"{name}.md" for place in places if (place / f"{name}.md").is_file())
        return _SAMPLES.sub(lambda found: self._sample(found[1]), file.read_text("utf-8"))

    def _title(self, language: str, name: str) -> str:
        return self.source(language, name).partition("\n")[0].removeprefix("# ")

    def introduction(self, language: str) -> str:
        """What stands above the list of errors, as HTML."""
        return str(self._markdown.render(_split(self.source(language, "errors"))[0].partition("\n")[2]))

    def errors(self, language: str) -> list[ErrorPage]:
        """Every error code, in the order of its HTTP status."""
        if language not in self._errors:
            sections = _split(self.source(language, "errors"))[1:]
            pages = [self._error(section) for section in sections]
            self._errors[language] = sorted(pages, key=lambda page: page.status)
        return self._errors[language]

    def error(self, language: str, code: str) -> ErrorPage | None:
        return next((page for page in self.errors(language) if page.code == code), None)

    def llms(self) -> str:
        """The short index for language models."""
        return (self._folder / "llms.txt").read_text("utf-8").replace("{version}", __version__)

    def llms_full(self) -> str:
        """Everything in one file: the index without its links, the guides, every operation, every error."""
        if not self._full:
            head = self.llms().partition("\n## ")[0]
            guides = [self.source(DEFAULT_LANGUAGE, name) for name in NAMES if name not in _NOT_IN_ONE_FILE]
            errors = self.source(DEFAULT_LANGUAGE, "errors")
            parts = [*guides, reference(msgspec.json.decode(self._spec)), errors]
            self._full = "\n".join([head, *(_demoted(part) for part in parts)])
        return self._full

    def _rendered(self, name: str, source: str) -> Page:
        heading, _, rest = source.partition("\n")
        tokens = self._markdown.parse(rest)
        sections = [
            Section(str(token.attrs["id"]), plain(tokens[index + 1]))
            for index, token in enumerate(tokens)
            if token.type == "heading_open" and token.tag == "h2"
        ]
        body = self._markdown.renderer.render(tokens, self._markdown.options, {})
        return Page(name, heading.removeprefix("# "), str(body), sections)

    def _sample(self, name: str) -> str:
        """The sample's files, each as a fence that names its language and its file."""
        files = {end: self._folder / "samples" / f"{name}{end}" for end in SAMPLE_LANGUAGES}
        return "\n\n".join(
            f"```{SAMPLE_LANGUAGES[end][0]} {file.name}\n{file.read_text('utf-8')}```"
            for end, file in files.items()
            if file.is_file()
        )

    def _error(self, section: str) -> ErrorPage:
        code, _, text = section.partition("\n")
        kind = problems.codes()[code.strip()]
        summary, _, rest = text.strip().partition("\n\n")
        return ErrorPage(
            code=kind.code,
            status=problems.STATUS[kind],
            title=kind.title,
            retryable=kind.retryable,
            summary=str(self._markdown.renderInline(summary)),
            body=str(self._markdown.render(rest)),
        )


def at(text: str, base_url: str, escape: Callable[[str], str] = str) -> str:
    """`text` with this gateway's address; `escape` makes the address fit to stand in it."""
    return text.replace(ADDRESS, escape(base_url))


def in_json(text: str) -> str:
    """`text` as it stands within a JSON string."""
    return msgspec.json.encode(text).decode()[1:-1]


in_html = html.escape


def _split(errors: str) -> list[str]:
    """What stands before the first code, then one piece for each code."""
    return errors.split("\n## ")


def _demoted(markdown: str) -> str:
    """With every heading one step lower, outside of code."""
    pieces = re.split(r"(^```.*?^```)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(piece if piece.startswith("```") else _HEADING.sub(r"#\1 ", piece) for piece in pieces)
