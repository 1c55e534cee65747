"""Multipart forms as they come in: the fields, and one file that is handed on and never held whole."""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from appliance.model.errors import FieldError, Invalid

F = TypeVar("F")

FORM_TYPE = "multipart/form-data"
FIELD_LIMIT = 256 * 1024
PARTS_LIMIT = 64
OVERHEAD = 1024 * 1024
"""How many bytes a body may have beyond its file."""

TakeFile = Callable[["FilePart", AsyncIterator[bytes]], Awaitable[F]]
_Events = AsyncGenerator[MultipartSegment | bytes | None, None]


class FormBroken(Exception):
    """The body is not the form that it says it is."""


class FieldTooLong(Exception):
    """A text field has more than FIELD_LIMIT bytes."""


class FilePart(msgspec.Struct, frozen=True):
    """What the form says about its file; `before`: the fields that stood before it."""

    filename: str | None
    mimetype: str | None
    before: Mapping[str, Any]


class Form(msgspec.Struct, Generic[F]):
    """The form's text fields (a field given several times as a list), and what became of its file."""

    fields: dict[str, Any]
    file: F | None


async def read_form(content_type: str, chunks: AsyncIterator[bytes], take_file: TakeFile[F]) -> Form[F]:
    """Read a form whose file part is called `file`; `take_file` gets its bytes as they come.

    Raises FormBroken, FieldTooLong, Invalid for a second file, and what `chunks` and `take_file` raise.
    """
    form: Form[F] = Form({}, None)
    events = _events(content_type, chunks)
    async for event in events:
        assert isinstance(event, MultipartSegment)
        if event.filename is None and event.name != "file":
            _add(form.fields, event.name or "", await _text(events, event.name or ""))
        elif event.name != "file" or form.file is not None:
            raise Invalid(
                errors=(FieldError(event.name or "", "One file, in the part called file.", "file"),)
            )
        else:
            part = FilePart(event.filename or None, event.content_type or None, form.fields)
            form.file = await take_file(part, _payload(events))
    return form


async def _events(content_type: str, chunks: AsyncIterator[bytes]) -> _Events:
    """What the parser finds: a segment, its bytes, None at its end, and so on."""
    try:
        _, options = parse_options_header(content_type)
        parser = PushMultipartParser(
            options.get("boundary", ""), max_segment_count=PARTS_LIMIT, max_segment_size=math.inf
        )
        async for chunk in chunks:
            for event in parser.parse(chunk):
                yield event
        parser.close()
    except MultipartError as error:
        raise FormBroken(f"The multipart body is broken: {error}.") from None


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
            raise FieldTooLong(f"The field {name[:80]} is longer than {FIELD_LIMIT // 1024} KiB.")
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
