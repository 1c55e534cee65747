"""Files: sending them, and handing out those that were received."""

import re
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.response import Stream

from appliance.api.decoding import fitted, json_object
from appliance.api.forms import is_form, read_form
from appliance.api.frame import add_header
from appliance.api.idempotency_key import fingerprint
from appliance.api.message_answers import MessageAnswer
from appliance.api.messages import ExpiresIn
from appliance.api.problems import RangeNotSatisfiable
from appliance.api.sending import DryRun, Sending
from appliance.form_stream import FilePart
from appliance.gateway import media_links
from appliance.gateway.drafts import Draft
from appliance.gateway.gateway import Gateway
from appliance.gateway.media import Loose, Staged
from appliance.gateway.media_shelf import Served
from appliance.model.account import Account
from appliance.model.errors import FieldError, Invalid
from appliance.model.message import MediaKind

ROUTE = "/messages/send-media"
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})\Z")


class SendMedia(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The file comes as `url`, as `base64`, or as the form's part `file`."""

    to: str
    kind: MediaKind
    device_id: str | None = None
    url: Annotated[str, msgspec.Meta(max_length=8_192)] | None = None
    base64: str | None = None
    caption: Annotated[str, msgspec.Meta(max_length=65_536)] | None = None
    filename: Annotated[str, msgspec.Meta(max_length=1_024)] | None = None
    mimetype: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    reply_to: str | None = None
    expires_in: ExpiresIn = 86_400
    dry_run: bool = False


class Uploaded(msgspec.Struct, frozen=True):
    """The form's file: what the form says about it, and where it lies."""

    part: FilePart
    loose: Loose


@post(ROUTE)
async def send_media(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account
) -> Response[MessageAnswer] | Response[DryRun]:
    if not is_form(request):
        fields = await json_object(request)
        sending = Sending(request, gateway, account, fields)
        return await _send(gateway, sending, fitted(fields, SendMedia), None)

    return await _send_form(request, gateway, account)


@get("/messages/{message_id:str}/media")
async def message_media(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account, message_id: str
) -> Response[Any]:
    return _file(request, gateway, await gateway.media.received.of_message(account.id, message_id))


@get("/media/{media_id:str}")
async def linked_media(request: Request[Any, Any, Any], gateway: Gateway, media_id: str) -> Response[Any]:
    """What the signed links of webhooks open; the signature stands for the key."""
    query = request.query_params
    expires, signature = query.get("expires", ""), query.get("signature", "")
    return _file(request, gateway, await gateway.media.received.linked(media_id, expires, signature))


async def _send_form(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account
) -> Response[MessageAnswer] | Response[DryRun]:
    taken: list[Loose] = []
    sending: Sending | None = None

    async def take(part: FilePart, chunks: AsyncIterator[bytes]) -> Uploaded:
        taken.append(await gateway.media.take(chunks))
        return Uploaded(part, taken[-1])

    try:
        form = await read_form(request, gateway.media.limit, take)
        sending = Sending(request, gateway, account, form.fields)
        return await _send(gateway, sending, fitted(form.fields, SendMedia, strict=False), form.file)
    except Exception:
        if sending is None or not sending.is_accepted:
            for loose in taken:
                gateway.media.discard(loose)
        raise


async def _send(
    gateway: Gateway, sending: Sending, body: SendMedia, uploaded: Uploaded | None
) -> Response[MessageAnswer] | Response[DryRun]:
    given = [name for name in ("url", "base64") if getattr(body, name) is not None]
    given += ["file"] if uploaded is not None else []
    if len(given) != 1:
        text = "Give the file in exactly one of url, base64 and the form's part file."
        raise Invalid(text, errors=[FieldError(name, text) for name in given or ["url"]])
    device = sending.device(body.device_id)
    to = gateway.outbox.recipient(body.to)
    if not body.dry_run:
        if body.url is not None and (known := await sending.replay(partial(fingerprint, ROUTE, body))):
            return known  # a repeat fetches nothing
        sending.check(device)
    staged = await _staged(gateway, body, uploaded)
    draft = Draft(
        to=to,
        kind=body.kind,
        text=body.caption,
        media=staged.media,
        reply_to=body.reply_to,
        expires_in_s=body.expires_in,
    )
    try:
        if body.dry_run:
            return await sending.rehearse(device, draft)
        return await sending.send(device, draft, partial(_fingerprint, body, staged))
    finally:
        if not sending.is_accepted:
            gateway.media.discard(staged)


async def _staged(gateway: Gateway, body: SendMedia, uploaded: Uploaded | None) -> Staged:
    if body.url is not None:
        return await gateway.media.stage_url(body.url, body.kind, body.mimetype, body.filename)
    if body.base64 is not None:
        return await gateway.media.stage_base64(body.base64, body.kind, body.mimetype, body.filename)
    assert uploaded is not None
    part = uploaded.part
    return await gateway.media.fit(
        uploaded.loose, body.kind, body.mimetype, body.filename or part.filename, hint=part.mimetype
    )


def _fingerprint(body: SendMedia, staged: Staged) -> bytes:
    """A file that was sent along counts by its content, one behind a URL by its address: that may change."""
    if body.url is not None:
        return fingerprint(ROUTE, body)
    return fingerprint(ROUTE, msgspec.structs.replace(body, base64=None), staged.sha256.hex())


def _file(request: Request[Any, Any, Any], gateway: Gateway, served: Served) -> Response[Any]:
    """The file, or the one range of it that is asked for; several ranges at once are answered with it all."""
    etag = f'"{served.file.id}"'
    start, end = 0, served.size
    asked = _RANGE.match(request.headers.get("range", ""))
    whole = asked is None or request.headers.get("if-range", etag) != etag
    if asked is not None and not whole:
        start, end = _bounds(request, asked.group(1), asked.group(2), served.size)
    headers = media_links.headers(served.file) | {"ETag": etag, "Content-Length": str(end - start)}
    if not whole:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{served.size}"
    return Stream(
        gateway.media.received.read(served, start, end),
        status_code=200 if whole else 206,
        media_type=headers.pop("Content-Type"),
        headers=headers,
    )


def _bounds(request: Request[Any, Any, Any], first: str, last: str, size: int) -> tuple[int, int]:
    """Where the range begins and before which byte it ends. Raises RangeNotSatisfiable."""
    if first:
        start, end = int(first), min(int(last) + 1 if last else size, size)
    else:
        start, end = max(0, size - int(last or "0")), size
    if start >= end:
        add_header(request, "Content-Range", f"bytes */{size}")
        raise RangeNotSatisfiable(f"The file has {size} bytes.")
    return start, end
