"""Reads what the conversation pages show: lists of chats, windows of one, and everything about them."""

import zlib

import msgspec

from appliance.dashboard.bubbles import Bubble, Surroundings, answered_id, bubbles, shown_address
from appliance.model.device import Device
from appliance.model.errors import NotFound
from appliance.model.jid import parse_jid
from appliance.model.message import Message
from appliance.store import chats, conversation, devices
from appliance.store.chats import Chat
from appliance.store.database import Reader

CHATS = 40
WINDOW = 50
TONES = 5
AFTER_FOUND = 15
"""How many later messages are shown below one that was looked for."""


class Window(msgspec.Struct, frozen=True):
    """Messages of a chat, oldest first. `before`: the row number from which older ones are asked for, None
    when there are none; `is_newest`: nothing came later."""

    bubbles: list[Bubble]
    before: int | None
    is_newest: bool


async def list_chats(
    reader: Reader, account_id: str, device_id: str | None, before: int | None
) -> tuple[list[Chat], int | None]:
    """Conversations, newest first, and where the next ones begin (None: there are no more)."""
    found = await reader.all(chats.page(account_id, device_id, before, CHATS + 1))
    return found[:CHATS], found[CHATS - 1].no if len(found) > CHATS else None


async def find_chat(reader: Reader, device: Device, chat: str) -> Chat:
    """The conversation, also when it is asked for by a LID whose phone number is known meanwhile. Raises
    NotFound."""
    found = await reader.one(chats.of(device.account_id, device.id, chat))
    if found is None and (phone := await reader.one(devices.phone_of(device.id, chat))):
        found = await reader.one(chats.of(device.account_id, device.id, phone))
    if found is None:
        raise NotFound("There is no such conversation, or no longer.")
    return found


async def read_window(reader: Reader, chat: Chat, account_id: str, before: int | None = None) -> Window:
    """The newest messages, or those before a row number."""
    rows = await reader.all(conversation.window(account_id, chat.device_id, chat.chat, before, WINDOW + 1))
    shown = rows[:WINDOW]
    around = await _surroundings(reader, chat, account_id, shown, is_newest=before is None)
    older = shown[-1].no if len(rows) > WINDOW else None
    return Window(bubbles(shown, around), older, before is None)


async def place_of(reader: Reader, chat: Chat, account_id: str, no: int) -> int | None:
    """Before which row a window ends that shows row `no` and a little more; None: the newest window does."""
    where = (account_id, chat.device_id, chat.chat, no)
    return await reader.one(conversation.place_after(*where, AFTER_FOUND))


def title_of(chat: Chat) -> str:
    """What a person calls the conversation: its name, its number, or the plain address; empty for somebody
    who hides both."""
    hidden = parse_jid(chat.chat).is_lid
    return chat.name or ("" if hidden else shown_address(chat.chat))


def face_of(chat: Chat) -> tuple[str, int]:
    """A letter that stands for the conversation (empty for one without a name), and one of TONES."""
    letter = next((c.upper() for c in chat.name or "" if c.isalnum()), "")
    return letter, zlib.crc32(chat.chat.encode()) % TONES


async def _surroundings(
    reader: Reader, chat: Chat, account_id: str, rows: list[Message], *, is_newest: bool
) -> Surroundings:
    where = (account_id, chat.device_id, chat.chat)
    marks = [] if is_newest or not rows else await reader.all(conversation.marks_after(*where, rows[-1].no))
    media_ids = tuple({row.media_id for row in rows if row.media_id is not None})
    files = await reader.all(conversation.files(account_id, media_ids)) if media_ids else []
    named = tuple({wa_id for row in rows if (wa_id := answered_id(row)) is not None})
    answered = await reader.all(conversation.named(*where, named)) if named else []
    return Surroundings(
        marks,
        {file.id: file for file in files},
        {row.wa_id: row for row in answered if row.wa_id is not None},
    )
