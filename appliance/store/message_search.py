"""Full text: what people type into a search box, as an expression that SQLite's FTS5 takes.

FTS5's own language is never passed on: every word goes in quotes, which is how FTS5 takes text as it is
(sqlite.org/fts5.html, "Full-text Query Syntax").
"""

import re

MOST_WORDS = 16
"""Further words are not looked at: each costs a walk through the index."""
_TERM = re.compile(r'"([^"]*)"(\*?)|([^\s"]+)')


def expression(typed: str, owner: str) -> str | None:
    """`typed` as an FTS5 expression over the messages of `owner` (an account's or a device's id); None when
    there is no word in it.

    All words must be there, in any order; "in quotes" they stand side by side; a word that ends in * stands
    for all that begin with it. Case and accents make no difference.
    """
    terms = [found for match in _TERM.finditer(typed.replace("\0", " ")) if (found := _term(match))][
        :MOST_WORDS
    ]
    if not terms:
        return None
    return f'{{account_id device_id}} : "{owner}" AND {{text filename}} : ({" AND ".join(terms)})'


def _term(match: re.Match[str]) -> str | None:
    """One word or phrase in quotes; None when nothing of it is kept in the index: signs alone, emoji."""
    phrase, open_end, word = match.groups()
    text = word.rstrip("*") if phrase is None else phrase
    begins = word.endswith("*") if phrase is None else open_end == "*"
    if not any(character.isalnum() for character in text):
        return None
    return f'"{text}"' + ("*" if begins else "")
