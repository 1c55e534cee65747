"""Messages: the conversations, what is found in them, and a first message to somebody new."""

from typing import Any
from urllib.parse import quote

from litestar import Request, get, post

from appliance.dashboard import sending
from appliance.dashboard.chat_reading import face_of, list_chats, title_of
from appliance.dashboard.forms import Typed
from appliance.dashboard.pages import Page, Pages, Part, go_to
from appliance.dashboard.uploads import UPLOAD, Upload, UploadRefused, read_upload
from appliance.dashboard.visitor import Member, Visitor
from appliance.gateway.gateway import Gateway
from appliance.model.device import Device
from appliance.model.errors import GatewayError, NotFound
from appliance.model.ids import new_id
from appliance.model.message import Message, MessageStatus

PATH = "/dashboard/messages"
WAIT_S = 3.0
_DONE = {MessageStatus.FAILED: "failed", MessageStatus.QUEUED: "queued", MessageStatus.SENDING: "queued"}


@get(PATH)
async def show_chats(
    gateway: Gateway, pages: Pages, member: Member, device: str = "", before: int | None = None
) -> Page:
    mine = gateway.devices.of_account(member.account.id)
    chosen = _known(mine, device)
    values: dict[str, Any] = {
        "here": "messages",
        "devices": mine,
        "chosen": chosen,
        "chats": await chats_part(gateway, pages, member, chosen, before=before),
    }
    return pages.show(member.visitor, "messages.html", **values)


@get(PATH + "/new")
async def show_new(gateway: Gateway, pages: Pages, member: Member, device: str = "", to: str = "") -> Page:
    if not gateway.devices.of_account(member.account.id):
        return go_to(member.visitor, "/dashboard/devices")  # which leads to a first one
    return _new_page(gateway, pages, member, typed=Typed({"device": device, "to": to}))


@post(PATH + "/new", opt={UPLOAD: True}, request_max_body_size=None)
async def send_new(request: Request[Any, Any, Any], gateway: Gateway, pages: Pages, member: Member) -> Page:
    """A message to anybody; then the conversation that it is part of."""
    upload = Upload(Typed())
    try:
        upload = await read_upload(request, member.visitor, gateway.media)
        device_id, to = upload.typed["device"] or None, upload.typed["to"]
        message = await sending.send(gateway, pages, member, device_id, to, upload)
    except (GatewayError, UploadRefused) as refused:
        typed = refused.typed if isinstance(refused, UploadRefused) else upload.typed
        error = refused.error if isinstance(refused, UploadRefused) else refused
        if is_htmx(request):
            return problem_alone(pages, member.visitor, error)
        return _new_page(gateway, pages, member, status=422, typed=typed, error=error)
    return await after_sending(gateway, member, message, is_htmx=is_htmx(request))


@get("/dashboard/parts/chats")
async def refresh_chats(
    gateway: Gateway, pages: Pages, member: Member, device: str = "", current: str = "", seen: str = ""
) -> Page:
    chosen = _known(gateway.devices.of_account(member.account.id), device)
    part = await _chats(gateway, member, chosen, current, None)
    return pages.refresh(member.visitor, seen, part)


async def chats_part(
    gateway: Gateway,
    pages: Pages,
    member: Member,
    chosen: str,
    *,
    current: str = "",
    before: int | None = None,
) -> str:
    """The list of conversations, which renews itself while it shows the newest; `current` is the one whose
    messages stand beside it, as `device/chat`."""
    part = await _chats(gateway, member, chosen, current, before)
    if before is not None:
        return pages.still(member.visitor, part)
    url = f"/dashboard/parts/chats?device={chosen}&current={quote(current)}"
    return pages.part(member.visitor, url, part)


async def after_sending(gateway: Gateway, member: Member, message: Message, *, is_htmx: bool) -> Page:
    """To the message's conversation; without scripts the page says how far it got in the first moments."""
    path = f"{PATH}/{message.device_id}/{quote(message.chat, safe='@')}"
    if is_htmx:
        return go_to(member.visitor, path, by_script=True)
    message = await gateway.outbox.wait(member.account, message, WAIT_S)
    return go_to(member.visitor, f"{path}?done={_DONE.get(message.status or MessageStatus.SENT, 'sent')}")


def problem_alone(pages: Pages, visitor: Visitor, error: GatewayError) -> Page:
    """What is wrong, for the box that keeps everything else as it was typed."""
    return pages.fragment(visitor, "_send_problem.html", status=422, problem=pages.problem(visitor, error))


def is_htmx(request: Request[Any, Any, Any]) -> bool:
    return "hx-request" in request.headers


def send_box(gateway: Gateway, action: str, typed: Typed) -> dict[str, Any]:
    """The values of the template `_send_box.html`, for a form that sends to `action`."""
    return {"action": action, "typed": typed, "once": new_id(), "limit": gateway.media.limit}


async def _chats(gateway: Gateway, member: Member, chosen: str, current: str, before: int | None) -> Part:
    found, more = await list_chats(gateway.reader, member.account.id, chosen or None, before)
    mine = gateway.devices.of_account(member.account.id)
    values: dict[str, Any] = {
        "chats": [(chat, title_of(chat), face_of(chat)) for chat in found],
        "names": {device.id: device.name for device in mine} if len(mine) > 1 and not chosen else {},
        "more": more,
        "chosen": chosen,
        "current": current,
    }
    return Part("_chats.html", values)


def _new_page(
    gateway: Gateway,
    pages: Pages,
    member: Member,
    *,
    typed: Typed,
    status: int = 200,
    error: GatewayError | None = None,
) -> Page:
    mine = gateway.devices.of_account(member.account.id)
    if not mine:
        raise NotFound(pages.text(member.visitor, "message.no_device"))
    values: dict[str, Any] = {
        "here": "messages",
        "devices": mine,
        "problem": pages.problem(member.visitor, error) if error is not None else None,
        **send_box(gateway, f"{PATH}/new", typed),
    }
    return pages.show(member.visitor, "message_new.html", status=status, **values)


def _known(mine: list[Device], device_id: str) -> str:
    return device_id if any(device.id == device_id for device in mine) else ""


HANDLERS = [show_chats, show_new, send_new, refresh_chats]
