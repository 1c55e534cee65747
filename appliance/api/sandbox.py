"""The sandbox: scanning without a phone, falling into states, and hearing from people who do not exist."""

import re
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, post

from appliance.api.decoding import decode
from appliance.api.devices import DeviceAnswer, device_answer
from appliance.engine.base import PretendMessage, StateChanged
from appliance.gateway.gateway import Gateway
from appliance.gateway.sandbox import SandboxMessage
from appliance.model.account import Account
from appliance.model.device import DeviceStatus
from appliance.model.errors import FieldError, Invalid
from appliance.model.jid import Jid
from appliance.model.message import MEDIA_KINDS, MessageStatus

Kind = Literal[
    "text",
    "image",
    "video",
    "audio",
    "voice",
    "document",
    "sticker",
    "reaction",
    "location",
    "edit",
    "delete",
    "poll_vote",
    "raw",
]
State = Literal["CONNECTED", "RECONNECTING", "DISCONNECTED", "LOGGED_OUT", "BANNED", "OUTDATED"]
Step = Literal["delivered", "read", "played", "failed"]
Text = Annotated[str, msgspec.Meta(max_length=65_536)]
Short = Annotated[str, msgspec.Meta(max_length=200)]

GREETING = "Halo!"
_LONGEST_DELAY_MS = 60_000
_DAY_MS = 86_400_000
_REASONS: dict[str, str] = {"RECONNECTING": "connection_lost", "LOGGED_OUT": "device_removed"}
_LID = re.compile(r"([0-9]{5,25})(@lid)?\Z")
_NEEDED: dict[str, tuple[str, ...]] = {
    "reaction": ("target",),
    "location": ("latitude", "longitude"),
    "edit": ("target", "text"),
    "delete": ("target",),
    "poll_vote": ("target", "options"),
    "raw": ("content",),
}


class Scan(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """`phone`: whose pretend phone scans; 999000000000 if it is not said."""

    phone: str | None = None
    push_name: Short | None = None


class SetState(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """`until` ms, for a ban; `after_ms`: the state comes that much later."""

    status: State
    reason: Short | None = None
    until: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)] | None = None
    after_ms: Annotated[int, msgspec.Meta(ge=0, le=_DAY_MS)] = 0


class Receipt(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """`message_id` is our id or WhatsApp's; `participant` whose phone it was, in a group."""

    message_id: str
    status: Step
    participant: str | None = None


class ReceiptAnswer(msgspec.Struct, rename="camel"):
    """The message after the receipt; its status only ever moves forward."""

    id: str
    message_id: str | None
    remote_jid: str
    status: MessageStatus | None


class Receive(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Somebody writes. `lid` true hides the sender's number, a LID stands beside it (or alone, without
    `from`); `target` and `reply_to` are our ids or WhatsApp's; no `emoji` takes a reaction back."""

    from_: str | None = msgspec.field(name="from", default=None)
    kind: Kind = "text"
    text: Text | None = None
    group: str | None = None
    push_name: Short | None = None
    lid: bool | str | None = None
    from_me: bool = False
    message_id: Short | None = None
    timestamp: Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)] | None = None
    reply_to: Short | None = None
    mentions: Annotated[list[str], msgspec.Meta(max_length=256)] = []
    forwarded: bool = False
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=_LONGEST_DELAY_MS)] = 0
    count: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    url: str | None = None
    base64: str | None = None
    caption: Text | None = None
    filename: Short | None = None
    mimetype: Short | None = None
    seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] | None = None
    fail_download: bool = False
    target: Short | None = None
    emoji: Short | None = None
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)] | None = None
    name: Short | None = None
    options: Annotated[list[Short], msgspec.Meta(max_length=12)] = []
    content: dict[str, Any] | None = None


class Received(msgspec.Struct, rename="camel"):
    """The message as stored and told, the last one of `count`. `event_id` is None when its file was not here
    in time; `timestamp` seconds."""

    id: str
    event_id: int | None
    message_id: str
    remote_jid: str
    timestamp: int
    count: int | msgspec.UnsetType = msgspec.UNSET


@post("/devices/{device_id:str}/sandbox/scan", status_code=200)
async def scan(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account, device_id: str
) -> DeviceAnswer:
    gateway.devices.get(account.id, device_id)
    body = await decode(request, Scan)
    phone = _phone(gateway, body.phone, "phone") if body.phone else None
    return device_answer(gateway, await gateway.sandbox.scan(account.id, device_id, phone, body.push_name))


@post("/devices/{device_id:str}/sandbox/state", status_code=200)
async def set_state(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account, device_id: str
) -> DeviceAnswer:
    gateway.devices.get(account.id, device_id)
    body = await decode(request, SetState)
    reason = body.reason or _REASONS.get(body.status)
    change = StateChanged(DeviceStatus(body.status), reason, until=body.until)
    device = await gateway.sandbox.state(account.id, device_id, change, body.after_ms / 1000)
    return device_answer(gateway, device)


@post("/devices/{device_id:str}/sandbox/receipt", status_code=200)
async def receipt(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account, device_id: str
) -> ReceiptAnswer:
    gateway.devices.get(account.id, device_id)
    body = await decode(request, Receipt)
    who = str(_jid(gateway, body.participant, "participant")) if body.participant else None
    status = MessageStatus(body.status)
    message = await gateway.sandbox.receipt(account.id, device_id, body.message_id, status, who)
    return ReceiptAnswer(message.id, message.wa_id, message.chat, message.status)


@post("/devices/{device_id:str}/sandbox/receive", status_code=201)
async def receive(
    request: Request[Any, Any, Any], gateway: Gateway, account: Account, device_id: str
) -> Received:
    gateway.devices.get(account.id, device_id)
    body = await decode(request, Receive)
    _check(body)
    wanted = SandboxMessage(
        message=_message(gateway, body),
        reply_to=body.reply_to,
        target=body.target,
        url=body.url,
        base64=body.base64,
        delay_s=body.delay_ms / 1000,
        count=body.count,
    )
    told = await gateway.sandbox.receive(account.id, device_id, wanted)
    answer = Received(told.id, told.event_id, told.message_id, told.remote_jid, told.timestamp)
    if told.count > 1:
        answer.count = told.count
    return answer


def _check(body: Receive) -> None:
    """Raises Invalid, naming every field that the kind needs and lacks."""
    needed = _NEEDED.get(body.kind, ())
    missing = [name for name in needed if getattr(body, name) in (None, [], {})]
    if missing:
        text = f"A {body.kind} needs this field."
        raise Invalid(f"A {body.kind} needs {', '.join(missing)}.", errors=_errors(missing, text))
    given = [name for name in ("url", "base64") if getattr(body, name)]
    if given and body.kind not in MEDIA_KINDS:
        text = f"A {body.kind} has no file."
        raise Invalid(text, field="kind", suggestion=", ".join(MEDIA_KINDS))
    if len(given) > 1:
        text = "Give the file by url or in base64, not both."
        raise Invalid(text, errors=_errors(given, text))


def _message(gateway: Gateway, body: Receive) -> PretendMessage:
    sender = _jid(gateway, body.from_, "from") if body.from_ else None
    text = body.caption or body.text if body.kind in MEDIA_KINDS else body.text
    if body.kind == "text" and text is None:
        text = GREETING
    lid = _lid(body.lid) if isinstance(body.lid, str) else None
    if sender is not None and sender.is_lid:
        lid = sender.user
    return PretendMessage(
        kind=body.kind,
        phone=_phone_of(sender),
        lid=lid,
        hidden=body.lid is True,
        group=_group(gateway, body.group) if body.group else None,
        from_me=body.from_me,
        push_name=body.push_name,
        wa_id=body.message_id,
        timestamp=body.timestamp,
        text=text,
        mentions=tuple(str(_jid(gateway, typed, "mentions")) for typed in body.mentions),
        forwarded=body.forwarded,
        filename=body.filename,
        mimetype=body.mimetype,
        seconds=body.seconds,
        broken=body.fail_download,
        emoji=body.emoji,
        options=tuple(body.options),
        latitude=body.latitude,
        longitude=body.longitude,
        name=body.name,
        content=body.content,
    )


def _phone_of(sender: Jid | None) -> str | None:
    """The digits, None for a LID. Raises Invalid for an address of nobody."""
    if sender is None or sender.is_lid:
        return None
    if sender.phone is None:
        raise Invalid("A person writes: give a phone number.", field="from", suggestion="628111222333")
    return sender.phone


def _group(gateway: Gateway, typed: str) -> str:
    jid = _jid(gateway, typed if "@" in typed else f"{typed}@g.us", "group")
    if jid.chat_kind != "group":
        raise Invalid("This is not a group.", field="group", suggestion="120363999000000001@g.us")
    return str(jid)


def _lid(typed: str) -> str:
    found = _LID.match(typed)
    if found is None:
        raise Invalid("true, or the digits of a LID.", field="lid", suggestion="123456789012345@lid")
    return found.group(1)


def _phone(gateway: Gateway, typed: str, field: str) -> str:
    phone = _jid(gateway, typed, field).phone
    if phone is None:
        raise Invalid("A phone number with its country code.", field=field, suggestion="628111222333")
    return phone


def _jid(gateway: Gateway, typed: str, field: str) -> Jid:
    """Whom `typed` means. Raises Invalid naming the field."""
    try:
        return gateway.outbox.recipient(typed)
    except Invalid as error:
        raise Invalid(error.detail, field=field, suggestion="628111222333") from None


def _errors(fields: list[str], text: str) -> tuple[FieldError, ...]:
    return tuple(FieldError(field, text) for field in fields)
