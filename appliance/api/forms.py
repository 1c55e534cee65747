"""Multipart forms as requests of the API."""

from typing import Any, TypeVar

from litestar import Request

from appliance.api.decoding import body_chunks
from appliance.api.problems import BadRequest, BodyTooLarge
from appliance.form_stream import FORM_TYPE, OVERHEAD, FieldTooLong, Form, FormBroken, TakeFile
from appliance.form_stream import read_form as read

F = TypeVar("F")


def is_form(request: Request[Any, Any, Any]) -> bool:
    return str(request.headers.get("content-type", "")).lower().startswith(FORM_TYPE)


async def read_form(request: Request[Any, Any, Any], file_limit: int, take_file: TakeFile[F]) -> Form[F]:
    """Read a form whose file part is called `file`; `take_file` gets its bytes as they come.

    Raises BadRequest when it is broken, BodyTooLarge, Invalid for a second file, and what `take_file` raises.
    """
    chunks = body_chunks(request, file_limit + OVERHEAD)
    try:
        return await read(request.headers["content-type"], chunks, take_file)
    except FormBroken as error:
        raise BadRequest(str(error)) from None
    except FieldTooLong as error:
        raise BodyTooLarge(str(error)) from None
