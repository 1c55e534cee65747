"""The manual's Markdown as HTML: anchors, wide pieces that scroll, and samples in several languages."""

import html
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

SAMPLE_LANGUAGES = {
    ".sh": ("sh", "curl"),
    ".mjs": ("js", "Node"),
    ".py": ("python", "Python"),
    ".php": ("php", "PHP"),
}
"""By the end of a sample's file name: its fence's language, its name for people; in the order shown."""

_NAMES = dict(SAMPLE_LANGUAGES.values())
_NOT_IN_SLUGS = re.compile(r"[^\w-]+")


def markdown() -> MarkdownIt:
    """A renderer for pages of the manual. It lets no HTML through."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.core.ruler.push("anchors", lambda state: _give_anchors(state.tokens))
    markdown.core.ruler.push("samples", lambda state: _group_samples(state.tokens))
    # Both may be wider than a phone: they scroll by themselves, also by keyboard.
    markdown.add_render_rule("fence", _fence)
    markdown.add_render_rule("table_open", _table_open)
    markdown.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return markdown


def plain(inline: Token) -> str:
    """The text of a heading or paragraph, without its marks."""
    return "".join(child.content for child in inline.children or ())


def _give_anchors(tokens: Sequence[Token]) -> None:
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrs["id"] = _slug(plain(tokens[index + 1]))


def _slug(title: str) -> str:
    return _NOT_IN_SLUGS.sub("-", title.lower()).strip("-")


def _group_samples(tokens: list[Token]) -> None:
    """Put fences that follow on each other and name files of one sample into one frame."""
    tokens[:] = [each for sample, run in groupby(tokens, _sample) for each in _framed(sample, run)]


def _framed(sample: str, run: Iterator[Token]) -> Iterator[Token]:
    if not sample:
        yield from run
        return
    opening = Token("samples_open", "div", 1, block=True)
    opening.attrs["class"] = "samples"
    yield opening
    yield from run
    yield Token("samples_close", "div", -1, block=True)


def _sample(token: Token) -> str:
    """The sample that a fence belongs to: after its language the fence names the file."""
    return token.info.partition(" ")[2].rpartition(".")[0] if token.type == "fence" else ""


def _fence(_self: RendererHTML, tokens: Sequence[Token], index: int, *_rest: Any) -> str:
    token = tokens[index]
    language, code = token.info.partition(" ")[0], html.escape(token.content)
    block = f'<pre tabindex="0" data-language="{html.escape(language)}"><code>{code}</code></pre>\n'
    if not _sample(token):
        return block
    title = f'<p class="sample-name">{_NAMES[language]}</p>'
    return f'<section class="sample" data-name="{_NAMES[language]}">{title}\n{block}</section>\n'


def _table_open(_self: RendererHTML, *_rest: Any) -> str:
    return '<div class="scroll" tabindex="0"><table>\n'
