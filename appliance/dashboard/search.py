"""Looking for messages: by their words, device, direction and kind."""

from urllib.parse import urlencode

from litestar import get

from appliance.dashboard.bubbles import author_of
from appliance.dashboard.chat_reading import face_of, title_of
from appliance.dashboard.messages import PATH
from appliance.dashboard.pages import Page, Pages
from appliance.dashboard.visitor import Member
from appliance.gateway.gateway import Gateway
from appliance.model.message import MEDIA_KINDS, Message
from appliance.store import chats, message_list
from appliance.store.chats import Chat

FOUND = 30
LONGEST = 500
KINDS = ("text", *MEDIA_KINDS, "location", "contact", "poll", "undecryptable")
DIRECTIONS = {"in": False, "out": True}
AROUND = 120
"""How many characters of a long text are shown on each side of the first word found."""


@get(PATH + "/search")
async def show_found(
    gateway: Gateway,
    pages: Pages,
    member: Member,
    q: str = "",
    device: str = "",
    direction: str = "",
    kind: str = "",
    before: int | None = None,
) -> Page:
    mine = gateway.devices.of_account(member.account.id)
    asked = {
        "q": q.strip()[:LONGEST],
        "device": device if any(each.id == device for each in mine) else "",
        "direction": direction if direction in DIRECTIONS else "",
        "kind": kind if kind in KINDS else "",
    }
    filters = message_list.Filters(
        device_id=asked["device"] or None,
        from_me=DIRECTIONS.get(asked["direction"]),
        kind=asked["kind"] or None,
        words=asked["q"] or None,
    )
    is_asked = any(asked.values())
    found = message_list.Found([], None)
    if is_asked:
        found = await message_list.read(gateway.reader, member.account.id, filters, before, FOUND)
    more = urlencode({**asked, "before": found.before}) if found.before is not None else ""
    return pages.show(
        member.visitor,
        "search.html",
        here="messages",
        asked=asked,
        is_asked=is_asked,
        kinds=KINDS,
        devices=mine,
        names={each.id: each.name for each in mine} if len(mine) > 1 else {},
        found=[await _shown(gateway, member, message, asked["q"]) for message in found.messages],
        more=more,
    )


async def _shown(
    gateway: Gateway, member: Member, message: Message, words: str
) -> tuple[Message, Chat | None, str, tuple[str, int], str | None, str]:
    """The message, its conversation with title and face, its author in a group, and the part of its text
    where the words stand."""
    chat = await gateway.reader.one(chats.of(member.account.id, message.device_id, message.chat))
    title, face = (title_of(chat), face_of(chat)) if chat is not None else (message.chat, ("", 0))
    return message, chat, title, face, author_of(message), excerpt(message.text or "", words)


def excerpt(text: str, words: str) -> str:
    """The part of the text around the first of the words that stands in it as it was typed."""
    lowered = text.lower()
    places = [lowered.find(word.strip('"*').lower()) for word in words.split()]
    first = min((place for place in places if place >= 0), default=0)
    start, end = max(0, first - AROUND), first + 2 * AROUND
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")


HANDLERS = [show_found]
