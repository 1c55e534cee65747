"""Lists: newest first, a limit, and a cursor that only fits the list it came from."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from appliance.model.errors import CursorMismatch, Invalid

R = TypeVar("R")
S = TypeVar("S")

_MARK_BYTES = 6
_NOT_FILTERS = {"limit", "cursor"}


class Page(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The query of a list; a list with filters derives from it and adds them. `limit` is 1–200."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: str | None = None


class Listing(msgspec.Struct, Generic[S], rename="camel"):
    """The answer of a list: `next_cursor` is None at the end."""

    items: list[S]
    next_cursor: str | None


def before(page: Page, of: str) -> int | None:
    """The row number below which this page begins, None for the first page. `of` names the list.

    Raises CursorMismatch when the cursor came from another list or other filters, Invalid when it is no
    cursor.
    """
    if page.cursor is None:
        return None
    try:
        raw = base64.b64decode(page.cursor + "=" * (-len(page.cursor) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    mark, number = raw[:_MARK_BYTES], raw[_MARK_BYTES:]
    if not 1 <= len(number) <= 8:
        raise Invalid("This is not a cursor that came from a list here.", field="cursor")
    if mark != _mark(page, of):
        raise CursorMismatch("The cursor came from a list with other filters; begin again without it.")
    return int.from_bytes(number, "big")


def listing(
    page: Page, of: str, rows: Sequence[R], no: Callable[[R], int], item: Callable[[R], S]
) -> Listing[S]:
    """The page as it is answered. `rows` were read with `page.limit + 1`: the surplus row proves that
    there is more."""
    shown = rows[: page.limit]
    more = len(rows) > page.limit
    return Listing([item(row) for row in shown], cursor(page, of, no(shown[-1]) if more else None))


def cursor(page: Page, of: str, no: int | None) -> str | None:
    """The cursor of the page that begins below row number `no`; None at the end."""
    if no is None:
        return None
    raw = _mark(page, of) + no.to_bytes((no.bit_length() + 7) // 8 or 1, "big")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _mark(page: Page, of: str) -> bytes:
    filters: dict[str, Any] = {
        name: getattr(page, name) for name in page.__struct_fields__ if name not in _NOT_FILTERS
    }
    return hashlib.sha256(msgspec.json.encode([of, filters], order="sorted")).digest()[:_MARK_BYTES]
