"""Multipart forms: the fields of a request with one file, which is handed on as it comes and never held
whole."""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec
from litestar import Request
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from appliance.api.decoding import body_chunks
from appliance.api.problems import BadRequest, BodyTooLarge
from appliance.model.errors import FieldError, Invalid

F = TypeVar("F")

FIELD_LIMIT = 256 * 1024
PARTS_LIMIT = 64
_OVERHEAD = 1024 * 1024

TakeFile = Callable[["FilePart", AsyncIterator[bytes]], Awaitable[F]]
_Events = AsyncGenerator[MultipartSegment | bytes | None, None]


class FilePart(msgspec.Struct, frozen=True):
    """What the form says about its file."""

    filename: str | None
    mimetype: str | None


class Form(msgspec.Struct, Generic[F]):
    """The form's text fields (a field given several times as a list), and what became of its file."""

    fields: dict[str, Any]
    file: F | None


def is_form(request: Request[Any, Any, Any]) -> bool:
    return str(request.headers.get("content-type", "")).lower().startswith("multipart/form-data")


async def read_form(request: Request[Any, Any, Any], file_limit: int, take_file: TakeFile[F]) -> Form[F]:
    """Read a form whose file part is called `file`; `take_file` gets its bytes as they come.

    Raises BadRequest when it is broken, BodyTooLarge, Invalid for a second file, and what `take_file` raises.
    """
    form: Form[F] = Form({}, None)
    events = _events(request, file_limit)
    async for event in events:
        assert isinstance(event, MultipartSegment)
        if event.filename is None and event.name != "file":
            _add(form.fields, event.name or "", await _text(events, event.name or ""))
        elif event.name != "file" or form.file is not None:
            raise Invalid(
                errors=(FieldError(event.name or "", "One file, in the part called file.", "file"),)
            )
        else:
            part = FilePart(event.filename or None, event.content_type or None)
            form.file = await take_file(part, _payload(events))
    return form


async def _events(request: Request[Any, Any, Any], file_limit: int) -> _Events:
    """What the parser finds: a segment, its bytes, None at its end, and so on."""
    try:
        _, options = parse_options_header(request.headers["content-type"])
        parser = PushMultipartParser(
            options.get("boundary", ""), max_segment_count=PARTS_LIMIT, max_segment_size=math.inf
        )
        async for chunk in body_chunks(request, file_limit + _OVERHEAD):
            for event in parser.parse(chunk):
                yield event
        parser.close()
    except MultipartError as error:
        raise BadRequest(f"The multipart body is broken: {error}.") from None


async def _payload(events: _Events) -> AsyncIterator[bytes]:
    async for event in events:
        if event is None:
            return
        assert isinstance(event, bytes | bytearray)
        yield bytes(event)


async def _text(events: _Events, name: str) -> str:
    found = bytearray()
    async for chunk in _payload(events):
        found += chunk
        if len(found) > FIELD_LIMIT:
            raise BodyTooLarge(f"The field {name[:80]} is longer than {FIELD_LIMIT // 1024} KiB.")
    try:
        return found.decode()
    except UnicodeDecodeError:
        raise Invalid("This is not UTF-8 text.", field=name) from None


def _add(fields: dict[str, Any], name: str, text: str) -> None:
    if name in fields:
        earlier = fields[name]
        fields[name] = [*earlier, text] if isinstance(earlier, list) else [earlier, text]
    else:
        fields[name] = text
