"""What a person typed about a webhook: read from the form, shown again, turned into the wished change."""

from collections.abc import Iterable
from typing import get_args

import msgspec

from appliance.dashboard.forms import Form
from appliance.gateway.endpoint_rules import MASK
from appliance.gateway.webhooks import EndpointChange
from appliance.model.errors import Invalid
from appliance.model.event import EventType
from appliance.model.jid import ChatKind
from appliance.model.webhook import Endpoint, EndpointFilters

CHAT_KINDS: tuple[str, ...] = get_args(ChatKind)
_USUAL_CHATS = ["direct", "group"]
_FROM_ME = {"": None, "yes": True, "no": False}


class WebhookTyped(msgspec.Struct, kw_only=True):
    """The form's fields as text; lists are ticked boxes. `headers` has a `Name: value` a line."""

    url: str = ""
    device: str = ""
    events: list[str] = msgspec.field(default_factory=lambda: [str(name) for name in EventType])
    chat_kinds: list[str] = msgspec.field(default_factory=lambda: list(_USUAL_CHATS))
    from_me: str = ""
    kinds: str = ""
    remote_jids: str = ""
    headers: str = ""
    redirect: bool = False

    @property
    def has_more(self) -> bool:
        """Whether something is set beyond address, events and device."""
        plain = WebhookTyped(url=self.url, device=self.device, events=self.events)
        return self != plain


def read(form: Form) -> WebhookTyped:
    return WebhookTyped(
        url=form.text("url"),
        device=form.text("device"),
        events=form.all("events"),
        chat_kinds=form.all("chat_kinds"),
        from_me=form.text("from_me"),
        kinds=form.text("kinds"),
        remote_jids=form.text("remote_jids"),
        headers=form.text("headers"),
        redirect=form.text("redirect") == "yes",
    )


def typed_of(endpoint: Endpoint, header_names: Iterable[str]) -> WebhookTyped:
    """The endpoint as its form shows it; header values are masked."""
    filters = endpoint.filters
    return WebhookTyped(
        url=endpoint.url,
        device=endpoint.device_id or "",
        events=[str(name) for name in endpoint.events],
        chat_kinds=list(_USUAL_CHATS if filters.chat_kinds is None else filters.chat_kinds),
        from_me=next(word for word, value in _FROM_ME.items() if value is filters.from_me),
        kinds=", ".join(filters.kinds or []),
        remote_jids="\n".join(filters.remote_jids or []),
        headers="\n".join(f"{name}: {MASK}" for name in header_names),
        redirect=endpoint.redirect_is_success,
    )


def wished(typed: WebhookTyped) -> EndpointChange:
    """The change that was typed, the address excepted. Raises Invalid for a header line without a colon."""
    known = set(EventType)
    chats = [kind for kind in CHAT_KINDS if kind in typed.chat_kinds]
    filters = EndpointFilters(
        chat_kinds=None if chats == _USUAL_CHATS else chats,
        from_me=_FROM_ME.get(typed.from_me),
        kinds=_words(typed.kinds) or None,
        remote_jids=_words(typed.remote_jids) or None,
    )
    return EndpointChange(
        device_id=typed.device or None,
        events=[EventType(name) for name in typed.events if name in known],
        filters=filters,
        headers=_headers(typed.headers),
        redirect_is_success=typed.redirect,
    )


def _words(text: str) -> list[str]:
    return [word.strip() for line in text.splitlines() for word in line.split(",") if word.strip()]


def _headers(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if line.strip() and not colon:
            raise Invalid("A header is a name, a colon and a value.", field="headers")
        if line.strip():
            found[name.strip()] = value.strip()
    return found
