"""One conversation: its messages, older ones, a box to answer with, and the files that came."""

from typing import Any
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.response import Stream

from appliance.dashboard import sending
from appliance.dashboard.bubbles import PICTURES, Bubble
from appliance.dashboard.chat_reading import face_of, find_chat, place_of, read_window, title_of
from appliance.dashboard.forms import Typed
from appliance.dashboard.messages import PATH, after_sending, chats_part, is_htmx, problem_alone, send_box
from appliance.dashboard.pages import Page, Pages, Part, go_to
from appliance.dashboard.uploads import UPLOAD, Upload, UploadRefused, read_upload
from appliance.dashboard.visitor import Member
from appliance.gateway import media_links
from appliance.gateway.gateway import Gateway
from appliance.gateway.media_types import HEAD_SIZE, sniffed
from appliance.model.errors import GatewayError, NotFound
from appliance.model.message import Message
from appliance.store import messages
from appliance.store.chats import Chat

ONE = PATH + "/{device_id:str}/{chat:str}"
PARTS = "/dashboard/parts/messages/{device_id:str}/{chat:str}"


@get(ONE)
async def show_conversation(
    gateway: Gateway,
    pages: Pages,
    member: Member,
    device_id: str,
    chat: str,
    before: int | None = None,
    at: str = "",
    reply: str = "",
    done: str = "",
) -> Page:
    """The newest messages; with `before` older ones, with `at` those around the message with that id."""
    found = await _find(gateway, member, device_id, chat)
    if found.chat != chat:
        return go_to(member.visitor, _path(found))
    if at:
        message = await _message(gateway, member, at)
        before = await place_of(gateway.reader, found, member.account.id, message.no)
    return await _page(gateway, pages, member, found, before=before, typed=Typed({"reply": reply}), done=done)


@post(ONE, opt={UPLOAD: True}, request_max_body_size=None)
async def answer(
    request: Request[Any, Any, Any],
    gateway: Gateway,
    pages: Pages,
    member: Member,
    device_id: str,
    chat: str,
) -> Page:
    """Send into the conversation. A script gets the box alone, empty again or with what is wrong."""
    found = await _find(gateway, member, device_id, chat)
    upload = Upload(Typed())
    try:
        upload = await read_upload(request, member.visitor, gateway.media)
        message = await sending.send(gateway, pages, member, device_id, found.chat, upload)
    except (GatewayError, UploadRefused) as refused:
        typed = refused.typed if isinstance(refused, UploadRefused) else upload.typed
        error = refused.error if isinstance(refused, UploadRefused) else refused
        if is_htmx(request):
            return problem_alone(pages, member.visitor, error)
        return await _page(gateway, pages, member, found, status=422, typed=typed, error=error)
    if is_htmx(request):
        values = {"problem": None, "answered": None, **send_box(gateway, _path(found), Typed())}
        return pages.fragment(member.visitor, "_send_box.html", says="sent", **values)
    return await after_sending(gateway, member, message, is_htmx=False)


@get(PARTS)
async def refresh_messages(
    gateway: Gateway, pages: Pages, member: Member, device_id: str, chat: str, seen: str = ""
) -> Page:
    found = await _find(gateway, member, device_id, chat)
    return pages.refresh(member.visitor, seen, await _window(gateway, member, found, None))


@get(PARTS + "/older")
async def older_messages(
    gateway: Gateway, pages: Pages, member: Member, device_id: str, chat: str, before: int | None = None
) -> Page:
    """The messages before a row number, to be put above what is shown."""
    found = await _find(gateway, member, device_id, chat)
    part = await _window(gateway, member, found, before)
    return pages.fragment(member.visitor, "_bubble_list.html", **part.values)


@get(PATH + "/text/{message_id:str}")
async def show_text(
    request: Request[Any, Any, Any], gateway: Gateway, pages: Pages, member: Member, message_id: str
) -> Page:
    """All of a long text."""
    message = await _message(gateway, member, message_id)
    if is_htmx(request):
        return pages.fragment(member.visitor, "_whole_text.html", text=message.text or "")
    back = f"{PATH}/{message.device_id}/{quote(message.chat, safe='@')}?at={message.id}"
    values: dict[str, Any] = {"here": "messages", "text": message.text or "", "back": back}
    return pages.show(member.visitor, "message_text.html", **values)


@get("/dashboard/media/{message_id:str}")
async def show_file(gateway: Gateway, member: Member, message_id: str, show: bool = False) -> Response[Any]:
    """The file of a received message. It is saved and not opened, but for a picture with `show`; what is one
    is judged by its bytes."""
    served = await gateway.media.received.of_message(member.account.id, message_id)
    headers = media_links.headers(served.file)
    media_type = headers.pop("Content-Type")
    head = b"".join([block async for block in gateway.media.received.read(served, 0, HEAD_SIZE)])
    found = sniffed(head)
    if found in PICTURES:
        media_type = found
        if show:
            headers["Content-Disposition"] = "inline"
    headers |= {"Content-Length": str(served.size), "Accept-Ranges": "none"}
    return Stream(
        gateway.media.received.read(served), status_code=200, media_type=media_type, headers=headers
    )


async def _find(gateway: Gateway, member: Member, device_id: str, chat: str) -> Chat:
    device = gateway.devices.get(member.account.id, device_id)
    return await find_chat(gateway.reader, device, chat)


async def _message(gateway: Gateway, member: Member, message_id: str) -> Message:
    message = await gateway.reader.one(messages.by_id(member.account.id, message_id))
    if message is None:
        raise NotFound("There is no such message, or no longer.")
    return message


def _path(chat: Chat) -> str:
    return f"{PATH}/{chat.device_id}/{quote(chat.chat, safe='@')}"


async def _window(gateway: Gateway, member: Member, chat: Chat, before: int | None) -> Part:
    window = await read_window(gateway.reader, chat, member.account.id, before)
    return Part("_bubbles.html", {"window": window, "chat": chat, "path": _path(chat)}, frame="_feed.html")


async def _page(
    gateway: Gateway,
    pages: Pages,
    member: Member,
    chat: Chat,
    *,
    typed: Typed,
    status: int = 200,
    before: int | None = None,
    error: GatewayError | None = None,
    done: str = "",
) -> Page:
    visitor = member.visitor
    device = gateway.devices.get(member.account.id, chat.device_id)
    window = await _window(gateway, member, chat, before)
    parts = f"/dashboard/parts/messages/{device.id}/{quote(chat.chat, safe='@')}"
    is_newest = window.values["window"].is_newest
    shown: list[Bubble] = window.values["window"].bubbles
    values = {
        "here": "messages",
        "chat": chat,
        "title": title_of(chat),
        "face": face_of(chat),
        "device": device,
        "devices": gateway.devices.of_account(member.account.id),
        "chosen": "",
        "chats": await chats_part(gateway, pages, member, "", current=f"{device.id}/{chat.chat}"),
        "messages": pages.part(visitor, parts, window) if is_newest else pages.still(visitor, window),
        "is_newest": is_newest,
        "path": _path(chat),
        "done": done,
        "problem": pages.problem(visitor, error) if error is not None else None,
        "answered": next((bubble for bubble in shown if bubble.id == typed["reply"]), None),
        **send_box(gateway, _path(chat), typed),
    }
    return pages.show(visitor, "conversation.html", status=status, **values)


HANDLERS = [show_conversation, answer, refresh_messages, older_messages, show_text, show_file]
