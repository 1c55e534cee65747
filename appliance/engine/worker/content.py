"""WhatsApp's protobuf messages as JSON with the names that WhatsApp-Web clients write.

Names: the descriptors write acronyms in capitals (`URL`, `fileSHA256`, `JPEGThumbnail`), WhatsApp-Web clients
(Baileys' type definitions) do not (`url`, `fileSha256`, `jpegThumbnail`): a rule and few exceptions.
Values as those clients' own JSON has them (protobufjs' toJSON): enums by name, 64-bit numbers as strings
(JavaScript has no such integers), bytes as base64; fields that are not set are left out.
"""

import base64
import functools
import math
import re
from typing import Any

_ACRONYM = re.compile(r"[A-Z]{2,}(?=[A-Z][a-z])|[A-Z]{2,}|^[A-Z]")

EXCEPTIONS = {
    "thumbnailCDNURL": "thumbnailCdnUrl",
    "profilePhotoCDNURL": "profilePhotoCdnUrl",
    "faviconCDNURL": "faviconCdnUrl",
    "imageURLs": "imageUrls",
    "faviconMmsMetadata": "faviconMMSMetadata",
    "oldestMessageTimestampInWindow": "oldestMessageTimestamp",
}
_WIDE = frozenset({3, 4, 6, 16, 18})
"""FieldDescriptor types int64, uint64, fixed64, sfixed64, sint64."""
_BYTES, _ENUM, _MESSAGE = 12, 14, 11


@functools.cache
def name_of(field: str) -> str:
    """The WhatsApp-Web name of a descriptor's field."""
    return EXCEPTIONS.get(field) or _ACRONYM.sub(_tamed, field)


def as_json(message: Any) -> dict[str, Any]:
    """The message's set fields as plain JSON values, in the order of their numbers."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            found[name_of(field.name)] = {str(key): _plain(value[key]) for key in value}
        elif field.is_repeated:
            found[name_of(field.name)] = [_value(field, item) for item in value]
        else:
            found[name_of(field.name)] = _value(field, value)
    return found


def _value(field: Any, value: Any) -> Any:
    if field.type == _MESSAGE:
        return as_json(value)
    if field.type == _ENUM:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    if field.type in _WIDE:
        return str(value)
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if hasattr(value, "ListFields"):
        return as_json(value)
    return value


def _tamed(run: re.Match[str]) -> str:
    return run[0].lower() if run.start() == 0 else run[0].capitalize()
