"""Reading what a caller sent into a struct, and saying everything that is wrong with it at once.

`null` and `""` in an optional field mean that it is absent, because automation tools send both. A field
that nobody knows is an error that names the right one: silently ignoring `chatId` would send a message
nowhere.
"""

import difflib
import functools
import re
import types
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec
from litestar import Request

from appliance.api.frame import header
from appliance.api.problems import BodyTooLarge, InvalidJson
from appliance.model.errors import FieldError, Invalid, UnsupportedMediaType

T = TypeVar("T", bound=msgspec.Struct)

JSON_LIMIT = 24 * 1024 * 1024
"""Bytes of a JSON body: a file of 16 MiB in base64, and some room."""

_WHERE = re.compile(r" - at `\$(.*)`\Z")
_ELSEWHERE: dict[str, tuple[str, ...]] = {
    "chatid": ("to", "remoteJid"),
    "number": ("to", "phone"),
    "phonenumber": ("to", "phone"),
    "phone": ("to",),
    "recipient": ("to",),
    "jid": ("to", "remoteJid"),
    "session": ("deviceId", "name"),
    "instance": ("deviceId", "name"),
    "message": ("text",),
    "body": ("text",),
    "quoted": ("replyTo",),
    "quotedmessageid": ("replyTo",),
    "type": ("kind",),
    "mediatype": ("kind",),
    "mediaurl": ("url",),
    "webhook": ("url",),
    "data": ("base64",),
}
"""What other gateways call our fields, in lower case without underscores."""


async def decode(request: Request[Any, Any, Any], model: type[T]) -> T:
    """The JSON body as a `model`; no body is an empty object.

    Raises InvalidJson, Invalid (naming every wrong field), BodyTooLarge, UnsupportedMediaType,
    RequestTimeout.
    """
    return fitted(await json_object(request), model)


async def json_object(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The JSON body as it came; no body is an empty object. Raises as `decode`, but for the fields."""
    body = await read_body(request, JSON_LIMIT)
    return _object(request, body) if body.strip() else {}


def decode_query(request: Request[Any, Any, Any], model: type[T]) -> T:
    """The query string as a `model`, with numbers and booleans written as text. Raises Invalid."""
    return fitted(dict(request.query_params), model, strict=False)


def fitted(fields: Mapping[str, Any], model: type[T], *, strict: bool = True) -> T:
    """`fields` as a `model`; `strict` False also takes numbers and booleans written as text. Raises
    Invalid."""
    known = _known(model)
    present = {name: value for name, value in fields.items() if not _is_absent(name, value, known)}
    try:
        return msgspec.convert(present, model, strict=strict)
    except msgspec.ValidationError:
        found = list(_errors(present, model, "", strict))
    raise Invalid(_summary(found), errors=found)


async def read_body(request: Request[Any, Any, Any], limit: int) -> bytes:
    """The whole body. Raises BodyTooLarge beyond `limit` bytes, InvalidJson when the caller goes away
    meanwhile."""
    chunks = [chunk async for chunk in body_chunks(request, limit)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def body_chunks(request: Request[Any, Any, Any], limit: int) -> AsyncIterator[bytes]:
    """The body as it comes. Raises BodyTooLarge as soon as more than `limit` bytes are announced or came."""
    announced = header(request, "content-length")
    left = limit - (int(announced) if announced.isdecimal() else 0)
    read, more = 0, True
    while more:
        if left < 0 or read > limit:
            raise BodyTooLarge(f"At most {limit // 1024} KiB are taken here.")
        message = await request.receive()
        if message["type"] != "http.request":
            raise InvalidJson("The body broke off.")
        read += len(message["body"])
        more = message.get("more_body", False)
        if message["body"]:
            yield message["body"]
    if read > limit:
        raise BodyTooLarge(f"At most {limit // 1024} KiB are taken here.")


def _object(request: Request[Any, Any, Any], body: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        kind = header(request, "content-type").partition(";")[0].strip().lower()
        if kind and "json" not in kind:
            raise UnsupportedMediaType(f"Send application/json here, not {kind[:80]}.") from None
        raise InvalidJson(f"The body is not JSON: {_reason(error)}.") from None
    if not isinstance(decoded, dict):
        raise InvalidJson("The body must be a JSON object.")
    return decoded


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


@functools.cache
def _known(model: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(model)}


def _is_absent(name: str, value: Any, known: Mapping[str, msgspec.structs.FieldInfo]) -> bool:
    return (value is None or value == "") and name in known and not known[name].required


def _errors(
    fields: Mapping[str, Any], model: type[msgspec.Struct], prefix: str, strict: bool
) -> Iterator[FieldError]:
    """Everything that keeps `fields` from being a `model`, where msgspec alone would name only the first."""
    known = _known(model)
    for name in fields:
        if name not in known:
            nearest = _nearest(name, list(known))
            yield FieldError(prefix + name, "There is no such field.", nearest)
    for name, field in known.items():
        if name not in fields:
            if field.required:
                yield FieldError(prefix + name, "This field is needed.")
        else:
            yield from _value_errors(fields[name], field.type, prefix + name, strict)


def _value_errors(value: Any, kind: Any, path: str, strict: bool) -> Iterator[FieldError]:
    nested = _struct_of(kind)
    if nested is not None and isinstance(value, dict):
        yield from _errors(value, nested, path + ".", strict)
        return
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        text = str(error)
        where = _WHERE.search(text)
        message = text[: where.start()] if where else text
        yield FieldError(path + (where.group(1) if where else ""), _plain(message), _one_of(kind))


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    options = get_args(kind) if get_origin(kind) in {Union, types.UnionType} else (kind,)
    return next((o for o in options if isinstance(o, type) and issubclass(o, msgspec.Struct)), None)


def _one_of(kind: Any) -> str | None:
    """The values a field can have, if they are few enough to be listed."""
    info = msgspec.inspect.type_info(kind)
    options = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    for option in options:
        if isinstance(option, msgspec.inspect.LiteralType):
            return ", ".join(str(value) for value in option.values)
        if isinstance(option, msgspec.inspect.EnumType):
            return ", ".join(str(member.value) for member in option.cls)
    return None


def _plain(message: str) -> str:
    return message.replace("`", "").replace(" | null", "") + "."


def _nearest(name: str, known: list[str]) -> str | None:
    folded = {field.lower(): field for field in known}
    plain = name.replace("_", "").replace("-", "").lower()
    if plain in folded:
        return folded[plain]
    for ours in _ELSEWHERE.get(plain, ()):
        if ours in known:
            return ours
    close = difflib.get_close_matches(plain, folded, 1, 0.6)
    return folded[close[0]] if close else None


def _summary(found: list[FieldError]) -> str:
    first = found[0] if found else FieldError("", "The request does not fit.")
    hint = f' Did you mean "{first.suggestion}"?' if first.suggestion and "no such" in first.message else ""
    more = f" ({len(found) - 1} more in errors)" if len(found) > 1 else ""
    return f"{first.field}: {first.message}{hint}{more}"
