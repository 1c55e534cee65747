"""Keeps a webhook body within what receivers accept by default: Express refuses more than 100 kB."""

import bisect
from collections.abc import Iterator, Mapping
from itertools import accumulate, zip_longest
from typing import Any

from appliance.gateway.canonical_json import encode, well_formed

LIMIT_BYTES = 100_000

# Ids, JIDs, hashes and WhatsApp's links are shorter than this, so they are never cut.
_NEVER_CUT_BYTES = 512
_IDENTITY_KEYS = (
    *("deviceId", "remoteJid", "fromMe", "type", "content", "timestamp"),
    *("id", "eventId", "messageId", "participant", "kind", "status", "update", "sandbox", "test"),
)


def fit(event_body: Mapping[str, Any], limit_bytes: int = LIMIT_BYTES) -> bytes:
    """The canonical JSON of `event_body` (`{event, timestamp, data}`) in at most `limit_bytes`.

    What is too long loses its thumbnails, then its quoted messages, then the ends of its longest strings (on
    a code point), and as a last resort everything but its identity; then `data.truncated` is true.
    `data.content[data.type]` survives every step. `event_body` itself is left as it is.

    Raises ValueError when not even the identity fits, and what `encode` raises.
    """
    whole = encode(event_body)
    if len(whole) <= limit_bytes:
        return whole
    body = _copied(event_body)
    data = body["data"]
    data["truncated"] = True
    for shorten in (
        _drop_thumbnails,
        _drop_quotes,
        _cut_strings,
        _empty_content,
        _cut_strings,
        _keep_identity,
    ):
        shorten(data, len(whole) - limit_bytes)
        whole = encode(body)
        if len(whole) <= limit_bytes:
            return whole
    raise ValueError(f"an event cannot be told in {limit_bytes} bytes")


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(item) for item in value]
    return well_formed(value) if isinstance(value, str) else value


def _drop_thumbnails(data: dict[str, Any], _excess: int) -> None:
    for message in _messages(data):
        for parent in _objects(message):
            for key in [key for key in parent if key.lower().endswith("thumbnail")]:
                if isinstance(parent[key], str | bytes):
                    del parent[key]


def _drop_quotes(data: dict[str, Any], _excess: int) -> None:
    if isinstance(reply_to := data.get("replyTo"), dict):
        reply_to.pop("text", None)
    for message in _messages(data):
        for parent in _objects(message):
            if isinstance(context := parent.get("contextInfo"), dict):
                context.pop("quotedMessage", None)


def _cut_strings(data: dict[str, Any], excess: int) -> None:
    slots = [(_size(parent[key]), parent, key) for parent, key in _cuttable(data)]
    longest_first = sorted((size for size, _, _ in slots), reverse=True)
    level = max(_level(longest_first, excess), _NEVER_CUT_BYTES)
    for size, parent, key in slots:
        if size > level:
            parent[key] = _cut(parent[key], level)


def _empty_content(data: dict[str, Any], _excess: int) -> None:
    content = data.get("content")
    if isinstance(content, dict):
        type_ = data.get("type")
        data["content"] = {type_: "" if isinstance(content[type_], str) else {}} if type_ in content else {}


def _keep_identity(data: dict[str, Any], _excess: int) -> None:
    if "type" in data and _size(data["type"]) > _NEVER_CUT_BYTES:
        # Only a hand-made message names its type at such length; type and content must still agree.
        data["type"] = _cut(data["type"], _NEVER_CUT_BYTES)
        data["content"] = {data["type"]: {}}
    kept = {key: data[key] for key in _IDENTITY_KEYS if key in data and len(encode(data[key])) <= 1024}
    data.clear()
    data.update(kept, truncated=True)


def _messages(data: dict[str, Any]) -> list[Any]:
    # One level down: the keys of `content` itself name the message and stay.
    content = data.get("content")
    return list(content.values()) if isinstance(content, dict) else []


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in `value`, outermost first; one that is removed meanwhile is not entered."""
    if isinstance(value, dict):
        yield value
        for member in list(value.values()):
            yield from _objects(member)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


def _cuttable(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place, as (container, key or index), that holds a string a reader can lose the end of."""
    places = value.items() if isinstance(value, dict) else enumerate(value)
    for key, member in list(places):
        if isinstance(member, dict | list):
            yield from _cuttable(member)
        elif isinstance(member, str | bytes) and key not in ("type", "url"):
            yield value, key


def _level(longest_first: list[int], excess: int) -> int:
    """The largest size to which all longer strings can be cut so that `excess` bytes go (0 when none is)."""
    sums = accumulate(longest_first)
    for count, (total, next_size) in enumerate(zip_longest(sums, longest_first[1:], fillvalue=0), start=1):
        level = (total - excess) // count
        if level >= next_size:
            return level
    return 0


def _size(text: str | bytes) -> int:
    """Bytes that `text` takes between its quotation marks."""
    return len(encode(text)) - 2


def _cut(text: str | bytes, size: int) -> str | bytes:
    """The longest beginning of `text` that takes at most `size` bytes; of bytes, whole base64 groups."""
    if isinstance(text, bytes):
        return text[: size // 4 * 3]
    return text[: bisect.bisect_right(range(len(text) + 1), size, key=lambda end: _size(text[:end])) - 1]
