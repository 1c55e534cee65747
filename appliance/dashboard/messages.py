"""Messages: the newest ones, and a box to send one."""

from typing import Any

from litestar import get, post

from appliance.dashboard.forms import Form, Typed
from appliance.dashboard.pages import Page, Pages, Part, go_to
from appliance.dashboard.visitor import Member
from appliance.gateway.drafts import Draft
from appliance.gateway.gateway import Gateway
from appliance.model.device import Device
from appliance.model.errors import GatewayError, Invalid
from appliance.model.message import MessageStatus
from appliance.store import messages

PATH = "/dashboard/messages"
SHOWN = 50
WAIT_S = 3.0


@get(PATH)
async def show_messages(
    gateway: Gateway, pages: Pages, member: Member, device: str = "", done: str = ""
) -> Page:
    return await _page(gateway, pages, member, chosen=device, done=done)


@post(PATH)
async def send_text(gateway: Gateway, pages: Pages, member: Member, form: Form) -> Page:
    """Send a text; the page says how far it got in the first moments."""
    try:
        device = gateway.devices.resolve(member.account.id, form.text("device") or None)
        text = form.secret("text")
        if not text.strip():
            raise Invalid(pages.text(member.visitor, "message.text_missing"), field="text")
        draft = Draft(to=gateway.outbox.recipient(form.text("to")), kind="text", text=text)
        accepted = await gateway.outbox.accept(member.account, device, draft)
    except GatewayError as error:
        problem = pages.problem(member.visitor, error)
        typed = form.typed("device", "to", "text")
        return await _page(gateway, pages, member, status=422, typed=typed, problem=problem)
    message = await gateway.outbox.wait(member.account, accepted.message, WAIT_S)
    done = {MessageStatus.FAILED: "failed", MessageStatus.QUEUED: "queued", MessageStatus.SENDING: "queued"}
    return go_to(member.visitor, f"{PATH}?done={done.get(message.status or MessageStatus.SENT, 'sent')}")


@get("/dashboard/parts/messages")
async def refresh_messages(
    gateway: Gateway, pages: Pages, member: Member, device: str = "", seen: str = ""
) -> Page:
    return pages.refresh(member.visitor, seen, await _newest(gateway, member, device))


async def _newest(gateway: Gateway, member: Member, chosen: str) -> Part:
    filters = messages.Filters(device_id=chosen or None)
    found = await gateway.reader.all(messages.page(member.account.id, filters, None, SHOWN))
    names = {device.id: device.name for device in gateway.devices.of_account(member.account.id)}
    return Part("_messages.html", {"messages": found, "names": names})


async def _page(
    gateway: Gateway, pages: Pages, member: Member, *, status: int = 200, chosen: str = "", **values: Any
) -> Page:
    mine: list[Device] = gateway.devices.of_account(member.account.id)
    known = chosen if any(device.id == chosen for device in mine) else ""
    newest = await _newest(gateway, member, known)
    url = "/dashboard/parts/messages" + (f"?device={known}" if known else "")
    shown = {
        "here": "messages",
        "done": "",
        "typed": Typed(),
        "problem": None,
        "devices": mine,
        "chosen": known,
        "messages": pages.part(member.visitor, url, newest),
    }
    return pages.show(member.visitor, "messages.html", status=status, **(shown | values))


HANDLERS = [show_messages, send_text, refresh_messages]
