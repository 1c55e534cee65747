"""Forms with a file: taken onto disk as they come, and checked to be ours before the file's first byte is
kept."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import ClientException, PermissionDeniedException

from appliance.dashboard.forms import Typed
from appliance.dashboard.visitor import Visitor
from appliance.form_stream import OVERHEAD, FieldTooLong, FilePart, Form, FormBroken, read_form
from appliance.gateway.media import Loose, Media
from appliance.gateway.media_intake import too_large
from appliance.model.errors import GatewayError, Invalid

UPLOAD = "upload"
"""A handler with this option set takes multipart forms, and reads them with `read_upload`."""


class GivenFile(msgspec.Struct, frozen=True):
    """A file that a person chose: what the browser says about it, and where it lies now."""

    loose: Loose
    filename: str | None
    mimetype: str | None


class Upload(msgspec.Struct, frozen=True):
    """A form that was ours: what was typed, and the file, if one was chosen."""

    typed: Typed
    file: GivenFile | None = None


class UploadRefused(Exception):
    """The form was ours and could not be taken; `typed` is what came before the trouble."""

    def __init__(self, error: GatewayError, typed: Typed) -> None:
        super().__init__(str(error))
        self.error = error
        self.typed = typed


async def read_upload(request: Request[Any, Any, Any], visitor: Visitor, media: Media) -> Upload:
    """The form. Raises UploadRefused, PermissionDeniedException when it is not ours, ClientException when it
    is none; after any of them no file is left."""
    before: dict[str, Any] = {}
    kept: list[Loose] = []

    async def take(part: FilePart, chunks: AsyncIterator[bytes]) -> GivenFile | None:
        before.update(part.before)
        _check(visitor, part.before)
        loose = await media.take(chunks)
        kept.append(loose)
        return GivenFile(loose, part.filename, part.mimetype)

    try:
        chunks = _chunks(request, media.limit)
        form: Form[GivenFile | None] = await read_form(request.headers["content-type"], chunks, take)
        _check(visitor, form.fields)
    except BaseException as error:
        for loose in kept:
            media.discard(loose)
        if isinstance(error, GatewayError):
            raise UploadRefused(error, _typed(before)) from None
        if isinstance(error, FormBroken | FieldTooLong):
            raise ClientException(str(error)) from None
        raise
    return Upload(_typed(form.fields), _chosen(form.file, media))


def _chosen(file: GivenFile | None, media: Media) -> GivenFile | None:
    """Browsers send an empty file without a name when none was chosen."""
    if file is None or file.filename or file.loose.size:
        return file
    media.discard(file.loose)
    return None


def _check(visitor: Visitor, fields: Mapping[str, Any]) -> None:
    token = fields.get("csrf")
    if not isinstance(token, str) or not visitor.may_post(token):
        raise PermissionDeniedException


def _typed(fields: Mapping[str, Any]) -> Typed:
    return Typed({name: text for name, text in fields.items() if isinstance(text, str)})


async def _chunks(request: Request[Any, Any, Any], file_limit: int) -> AsyncIterator[bytes]:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > file_limit + OVERHEAD:
        raise too_large(file_limit)
    read, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientException("The form broke off.")
        read += len(message["body"])
        if read > file_limit + OVERHEAD:
            raise Invalid("The form is too large.", field="file")
        more = message.get("more_body", False)
        yield message["body"]
