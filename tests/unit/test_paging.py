"""Cursors: they continue their own list and no other."""

import pytest

from appliance.api import paging
from appliance.api.paging import Page
from appliance.model.errors import CursorMismatch, Invalid


class Filtered(Page, rename="camel", forbid_unknown_fields=True, kw_only=True):
    status: str | None = None


def pages(limit: int, rows: list[int]) -> list[list[int]]:
    """Everything a caller sees who follows the cursors to the end."""
    seen, cursor = [], None
    while True:
        page = Page(limit=limit, cursor=cursor)
        below = paging.before(page, "things")
        found = [row for row in rows if below is None or row < below][: limit + 1]
        listing = paging.listing(page, "things", found, lambda row: row, lambda row: row)
        seen.append(listing.items)
        cursor = listing.next_cursor
        if cursor is None:
            return seen


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_following_the_cursors_shows_every_row_once(count: int, limit: int) -> None:
    rows = [10**9 + n for n in range(count, 0, -1)]
    shown = pages(limit, rows)
    assert [row for page in shown for row in page] == rows
    assert all(len(page) == limit for page in shown[:-1])
    assert len(shown[-1]) > 0 or not rows


def cursor_of(page: Page, of: str) -> str:
    listing = paging.listing(page, of, list(range(page.limit + 1, 0, -1)), lambda row: row, str)
    assert listing.next_cursor is not None
    return listing.next_cursor


def test_a_cursor_fits_only_its_filters() -> None:
    cursor = cursor_of(Filtered(status="sent"), "messages")
    assert paging.before(Filtered(status="sent", limit=7, cursor=cursor), "messages") is not None
    with pytest.raises(CursorMismatch):
        paging.before(Filtered(status="read", cursor=cursor), "messages")
    with pytest.raises(CursorMismatch):
        paging.before(Filtered(status="sent", cursor=cursor), "devices")


@pytest.mark.parametrize("text", ["x", "%%%", "AAAA", "ä", "A" * 500, "AAAAAAAA"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        paging.before(Page(cursor=text), "things")
    assert refused.value.errors[0].field == "cursor"
