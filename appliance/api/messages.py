"""Messages: sending text, and reading what was sent and received."""

from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post

from appliance.api import paging
from appliance.api.decoding import decode_query, fitted, json_object
from appliance.api.idempotency_key import fingerprint
from appliance.api.message_answers import MessageAnswer, message_answer
from appliance.api.paging import Listing, Page
from appliance.api.sending import DryRun, Sending, mentioned
from appliance.gateway.drafts import Draft
from appliance.gateway.gateway import Gateway
from appliance.model.account import Account
from appliance.model.errors import NotFound
from appliance.model.message import MessageStatus
from appliance.store import devices, message_list, messages

ROUTE = "/messages/send-text"
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=65_536)]
Mentions = Annotated[list[str], msgspec.Meta(max_length=1_024)]
ExpiresIn = Annotated[int, msgspec.Meta(ge=1, le=30 * 86_400)]


class SendText(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """`expires_in` seconds: not sent by then, the message fails as `expired`."""

    to: str
    text: Text
    device_id: str | None = None
    reply_to: str | None = None
    mentions: Mentions = []
    expires_in: ExpiresIn = 86_400
    dry_run: bool = False


class MessagesPage(Page, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """`since` inclusive, `until` exclusive, both ms of `createdAt`; `q` words to search for."""

    device_id: str | None = None
    remote_jid: str | None = None
    participant: str | None = None
    from_me: bool | None = None
    kind: str | None = None
    status: MessageStatus | None = None
    since: int | None = None
    until: int | None = None
    q: Annotated[str, msgspec.Meta(min_length=1, max_length=500)] | None = None


@post(ROUTE)
async def send_text(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account
) -> Response[MessageAnswer] | Response[DryRun]:
    fields = await json_object(request)
    sending = Sending(request, gateway, account, fields)
    body = fitted(fields, SendText)
    device = sending.device(body.device_id)
    draft = Draft(
        to=gateway.outbox.recipient(body.to),
        kind="text",
        text=body.text,
        reply_to=body.reply_to,
        mentions=mentioned(gateway, body.mentions),
        expires_in_s=body.expires_in,
    )
    if body.dry_run:
        return await sending.rehearse(device, draft)
    return await sending.send(device, draft, partial(fingerprint, ROUTE, body))


@get("/messages")
async def list_messages(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account
) -> Listing[MessageAnswer]:
    page = decode_query(request, MessagesPage)
    if page.device_id is not None:
        gateway.devices.get(account.id, page.device_id)
    filters = message_list.Filters(
        device_id=page.device_id,
        remote_jids=await _chats(gateway, account, page),
        participant=str(gateway.outbox.recipient(page.participant)) if page.participant else None,
        from_me=page.from_me,
        kind=page.kind,
        status=page.status,
        since=page.since,
        until=page.until,
        words=page.q,
    )
    before = paging.before(page, "messages")
    found = await message_list.read(gateway.reader, account.id, filters, before, page.limit)
    items = [message_answer(message) for message in found.messages]
    return Listing(items, paging.cursor(page, "messages", found.before))


@get("/messages/{message_id:str}")
async def get_message(gateway: Gateway, account: Account, message_id: str) -> MessageAnswer:
    message = await gateway.reader.one(messages.by_id(account.id, message_id))
    if message is None:
        raise NotFound("There is no such message.")
    return message_answer(message)


async def _chats(gateway: Gateway, account: Account, page: MessagesPage) -> tuple[str, ...] | None:
    """The addresses a chat may be kept under: a LID's messages stand under the phone as soon as it is
    known."""
    if page.remote_jid is None:
        return None
    chat = gateway.outbox.recipient(page.remote_jid)
    if not chat.is_lid:
        return (str(chat),)
    mine = [device.id for device in gateway.devices.of_account(account.id)]
    found = {str(chat)}
    for device_id in mine:
        phone = await gateway.reader.one(devices.phone_of(device_id, str(chat)))
        found |= {phone} if phone is not None else set()
    return tuple(sorted(found))
