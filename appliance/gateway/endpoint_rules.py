"""What an endpoint's owner may ask for: header names and values, event types, filters, secrets."""

import difflib
import re
from collections.abc import Mapping
from typing import get_args

from appliance.gateway.signing import SecretInvalid, validate_secret
from appliance.model.errors import Invalid
from appliance.model.event import EventType
from appliance.model.jid import ChatKind, recipient
from appliance.model.webhook import EndpointFilters

MASK = "********"
"""Stands for a header's value in answers; sent back, it means: keep the value."""

HEADERS_MOST, HEADER_LONGEST, FILTER_MOST = 20, 4096, 1000
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?\Z")
_OURS = ("content-", "x-webhook-", "webhook-")
_TRANSPORT = frozenset(
    ("host", "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect")
)
_CHAT_KINDS: tuple[str, ...] = get_args(ChatKind)


def checked_headers(headers: Mapping[str, str], kept: Mapping[str, str]) -> dict[str, str]:
    """`headers` with masked values taken from `kept`. Raises Invalid, naming the header."""
    if len(headers) > HEADERS_MOST:
        raise Invalid(f"At most {HEADERS_MOST} headers can be added.", field="headers")
    known = {name.lower(): value for name, value in kept.items()}
    checked: dict[str, str] = {}
    for name, value in headers.items():
        if value == MASK and name.lower() in known:
            value = known[name.lower()]
        _check_header(name, value)
        checked[name] = value
    if len({name.lower() for name in checked}) < len(checked):
        raise Invalid("The same header stands there twice.", field="headers")
    return checked


def checked_events(events: list[EventType]) -> list[EventType]:
    """The event types without repeats, in their given order. Raises Invalid when there is none."""
    if not events:
        raise Invalid("Name at least one event.", field="events", suggestion=", ".join(EventType))
    return list(dict.fromkeys(events))


def checked_filters(filters: EndpointFilters) -> EndpointFilters:
    """The filters with addresses in the form that events use. Raises Invalid, naming the field."""
    for kind in filters.chat_kinds or []:
        if kind not in _CHAT_KINDS:
            near = difflib.get_close_matches(kind, _CHAT_KINDS, 1)
            raise Invalid(
                f"{kind[:40]!r} is no kind of chat.",
                field="filters.chatKinds",
                suggestion=near[0] if near else ", ".join(_CHAT_KINDS),
            )
    for field, values in (("chatKinds", filters.chat_kinds), ("kinds", filters.kinds)):
        if values == []:
            raise Invalid("An empty list would let nothing through.", field=f"filters.{field}")
    if filters.remote_jids is None:
        return filters
    return EndpointFilters(
        chat_kinds=filters.chat_kinds,
        from_me=filters.from_me,
        kinds=filters.kinds,
        remote_jids=_addresses(filters.remote_jids),
    )


def checked_secret(secret: str) -> str:
    """`secret` itself. Raises Invalid when it cannot be one."""
    try:
        validate_secret(secret)
    except SecretInvalid as error:
        raise Invalid(f"Not a secret that can be used: {error}.", field="secret") from None
    return secret


def _addresses(typed: list[str]) -> list[str]:
    if not 1 <= len(typed) <= FILTER_MOST:
        raise Invalid(f"1 to {FILTER_MOST} addresses.", field="filters.remoteJids")
    found: list[str] = []
    for text in typed:
        try:
            found.append(str(recipient(text)))
        except Invalid as error:
            raise Invalid(f"{text[:80]!r}: {error.detail}", field="filters.remoteJids") from None
    return found


def _check_header(name: str, value: str) -> None:
    field = f"headers.{name[:100]}"
    if not _TOKEN.match(name):
        raise Invalid("Not a header name.", field=field)
    lower = name.lower()
    if lower in _TRANSPORT or lower.startswith(_OURS):
        raise Invalid("The gateway sets this header itself.", field=field)
    if len(value) > HEADER_LONGEST or not _VALUE.match(value):
        raise Invalid(
            f"A header's value is 1 to {HEADER_LONGEST} visible ASCII characters and blanks between them.",
            field=field,
        )
