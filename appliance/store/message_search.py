"""Full text: what people type into a search box, as an expression that SQLite's FTS5 takes.

FTS5's own language is never passed on: every word goes in quotes, which is how FTS5 takes text as it is
(sqlite.org/fts5.html, "Full-text Query Syntax").
"""

import re

MOST_WORDS = 16
"""Further words are not looked at: each costs a walk through the index."""
MOST_BEGINNINGS = 3
SHORTEST_BEGINNING = 3
"""In bytes, so that one sign of a script without letters is enough. FTS5 reads every word that begins so
before it answers: at a million messages 80 ms for three letters, 350 ms for one."""
_TERM = re.compile(r'"([^"]*)"(\*?)|([^\s"]+)')
_LETTERS = re.compile(r"[^\W_]+")


def expression(typed: str, owner: str) -> str | None:
    """`typed` as an FTS5 expression over the messages of `owner` (an account's or a device's id); None when
    there is no word in it.

    All words must be there, in any order; "in quotes" they stand side by side; a word that ends in * stands
    for all that begin with it, unless it is too short for that: then for itself. Case and accents make no
    difference.
    """
    found = [term for match in _TERM.finditer(typed.replace("\0", " ")) if (term := _term(match))]
    terms = _without_further_beginnings(found[:MOST_WORDS])
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
    return f'"{text}"' + ("*" if begins and _is_long_enough(text) else "")


def _is_long_enough(text: str) -> bool:
    """Whether the last word of it narrows the index enough to stand for all that begin with it."""
    words = _LETTERS.findall(text)
    return bool(words) and len(words[-1].encode()) >= SHORTEST_BEGINNING


def _without_further_beginnings(terms: list[str]) -> list[str]:
    """Those beyond the first few are not looked at either."""
    beginnings = dict.fromkeys(term for term in terms if term.endswith("*"))
    further = list(beginnings)[MOST_BEGINNINGS:]
    return [term for term in terms if term not in further]
