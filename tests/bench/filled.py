"""A data directory with a great many messages, as years of use leave it: written through the store's own
functions."""

import asyncio
import itertools
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
from messages_of import told

from appliance.model.event import EventType, envelope_head
from appliance.model.ids import new_id
from appliance.model.message import Message, MessageStatus
from appliance.model.webhook import Attempt, Delivery, DeliveryStatus
from appliance.store import deliveries, delivery_queue, devices, events, messages
from appliance.store.database import Database, StoreSettings, Transaction
from appliance.store.delivery_queue import Recorded

GROUP = 2_000
CHATS = 1_500
EVENTS_SHARE = 0.1
"""The newest tenth still has its events; the rest is past their retention."""
SPAN_MS = 365 * 24 * 3600 * 1000
_SYLLABLES = (
    "sa",
    "ba",
    "ti",
    "ku",
    "ra",
    "me",
    "lo",
    "da",
    "ni",
    "pe",
    "san",
    "kan",
    "gu",
    "ma",
    "be",
    "sok",
)


def words(chance: random.Random, many: int = 8_000) -> list[str]:
    """Words that nobody speaks; the first of them are the most usual."""
    return ["".join(chance.choices(_SYLLABLES, k=chance.randrange(1, 5))) for _ in range(many)]


class Filler:
    """Writes messages of these devices (device id, its webhook's id), from a year ago until `now_ms`."""

    def __init__(self, places: list[tuple[str, str]], now_ms: int, many: int) -> None:
        self._chance = random.Random(1)
        self._words = words(self._chance)
        self._weights = list(itertools.accumulate(1 / (n + 2) for n in range(len(self._words))))
        self._places = places
        self._owners: dict[str, str] = {}
        self._now_ms = now_ms
        self._many = many
        self._event_no = 0

    async def fill(self, path: Path) -> None:
        database = Database(path, StoreSettings(cache_mib=64))
        await database.open()
        for device in await database.reader.all(devices.everywhere()):
            self._owners[device.id] = device.account_id
        self._event_no = await database.reader.one(events.highest()) or 0
        rows = self._rows()
        while group := list(itertools.islice(rows, GROUP)):
            await database.transaction(partial(self._write, group=group))
        await database.close()

    def _rows(self) -> Iterator[Message]:
        for n in range(self._many):
            yield self._message(n, self._places[int(self._chance.triangular(0, len(self._places), 0))][0])

    def _message(self, n: int, device_id: str) -> Message:
        chance = self._chance
        mine = chance.random() < 0.4
        chat_no = int(CHATS * chance.random() ** 3)
        group = chat_no % 10 == 0
        kind = chance.choices(("text", "image", "document", "reaction"), (88, 7, 2, 3))[0]
        text = " ".join(chance.choices(self._words, cum_weights=self._weights, k=chance.randrange(1, 20)))
        at = self._now_ms - SPAN_MS + SPAN_MS * n // self._many
        failed = mine and chance.random() < 0.005
        author = f"62812{int(CHATS * chance.random()):08}@s.whatsapp.net"
        sender = {"jid": author, "phone": author[:13], "lid": None, "pushName": "Budi"}
        return Message(
            id=new_id(),
            account_id=self._owners[device_id],
            device_id=device_id,
            wa_id=f"3EB0{chance.getrandbits(72):018X}",
            chat=f"1203630{chat_no:011}@g.us" if group else f"62811{chat_no:08}@s.whatsapp.net",
            participant=author if group and not mine else None,
            from_me=mine,
            via_api=mine,
            kind=kind,
            type="conversation",
            text=text,
            content=msgspec.json.encode({"conversation": text}),
            details=msgspec.json.encode({"sender": sender, "chat": {"kind": "direct", "name": None}}),
            status=(MessageStatus.FAILED if failed else MessageStatus.READ) if mine else None,
            error_code="not_on_whatsapp" if failed else None,
            filename=f"{text.split()[0]}.pdf" if kind == "document" else None,
            timestamp=at // 1000,
            created_at=at,
        )

    def _write(self, tx: Transaction, group: list[Message]) -> None:
        for message in group:
            no = messages.insert(tx, message)
            if no > self._many * (1 - EVENTS_SHARE):
                self._tell(tx, message)

    def _tell(self, tx: Transaction, message: Message) -> None:
        """The event of a message, and its delivery, long delivered."""
        self._event_no += 1
        data = {"deviceId": message.device_id, "remoteJid": message.chat, "text": message.text}
        head = envelope_head(EventType.MESSAGE_RECEIVED, message.created_at)
        body = head + msgspec.json.encode(data | {"content": msgspec.Raw(message.content)}) + b"}"
        at, number = message.created_at, self._event_no
        events.insert(tx, told(message.account_id, message.device_id, number, at, body))
        delivery = Delivery(
            id=new_id(),
            account_id=message.account_id,
            endpoint_id=dict(self._places)[message.device_id],
            device_id=message.device_id,
            event_no=number,
            event_type=EventType.MESSAGE_RECEIVED,
            due_at=at,
            created_at=at,
        )
        no = deliveries.insert(tx, delivery)
        attempt = Attempt(delivery_no=no, n=1, at=at, duration_ms=5, status=200, answer=b"ok")
        done = Recorded(attempt, delivery.endpoint_id, DeliveryStatus.DELIVERED, step=0, due_at=at)
        delivery_queue.record(tx, done)


def fill(path: Path, places: list[tuple[str, str]], now_ms: int, many: int) -> None:
    """Add `many` messages to the database at `path`; the first of the places get the most."""
    asyncio.run(Filler(places, now_ms, many).fill(path))
