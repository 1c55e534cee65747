"""What every way to WhatsApp promises: one body of promises, kept by the simulator and by the real engine."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from patience import PATIENCE_S

from appliance.engine.base import (
    Engine,
    EngineError,
    EngineEvent,
    Incoming,
    Linked,
    MessageIn,
    OutgoingMessage,
    PairCode,
    QrShown,
    Quoted,
    ReceiptIn,
    Sent,
    Session,
    SessionSpec,
    StateChanged,
)
from appliance.model.device import DeviceStatus
from appliance.model.message import MessageStatus

T = TypeVar("T", bound=EngineEvent)

DEVICE = "d1"


class Heard(Protocol):
    """What the engine has told so far. Its waits are generous and raise TimeoutError."""

    @property
    def incoming(self) -> Sequence[Incoming]: ...

    def of(self, device_id: str, kind: type[T], since: int = 0) -> list[T]: ...

    async def wait(
        self, device_id: str, kind: type[T], fits: Callable[[T], bool] = ..., since: int = 0
    ) -> T: ...


class World(Protocol):
    """An engine with a network behind it: our phone, another person, and somebody who is not registered."""

    ours: str
    """The digits of the phone that links the device."""
    other: str
    """The digits of the other person."""
    nobody: str
    """The digits of a number that is not on WhatsApp."""

    @property
    def engine(self) -> Engine: ...

    @property
    def heard(self) -> Heard: ...

    def spec(self, *, linked: bool) -> SessionSpec: ...

    async def scan(self, qr: str) -> None:
        """Our phone scans the code."""

    async def type_code(self, code: PairCode) -> None:
        """Our phone's owner types the link code."""

    async def other_writes(self, text: str) -> None:
        """The other person writes to us; returns when it is on its way, also while we are offline."""

    async def other_sends_picture(self) -> bytes:
        """The other person sends a picture; the bytes of it."""
        ...

    async def other_got(self, text: str) -> None:
        """Returns when the other person has our message."""

    async def other_reads(self, sent: Sent) -> None:
        """The other person reads our message."""

    async def drop(self) -> None:
        """The connection is lost; it comes back by itself or with `heal`."""

    async def heal(self) -> None:
        """The network works again."""

    async def unlink(self) -> None:
        """The device is unlinked on our phone."""


def jid(phone: str) -> str:
    return f"{phone}@s.whatsapp.net"


async def connected(world: World, since: int = 0) -> StateChanged:
    return await world.heard.wait(
        DEVICE, StateChanged, lambda state: state.status is DeviceStatus.CONNECTED, since
    )


async def linked(world: World) -> Session:
    """A session linked by QR code, connected."""
    session = world.engine.session(world.spec(linked=False))
    await session.start()
    shown = await world.heard.wait(DEVICE, QrShown)
    await world.scan(shown.qr)
    await connected(world)
    return session


async def refused(sending: Awaitable[object]) -> EngineError:
    try:
        await sending
    except EngineError as error:
        return error
    raise AssertionError("it was not refused")


async def a_qr_code_links(world: World) -> None:
    session = await linked(world)
    shown = world.heard.of(DEVICE, QrShown)[0]
    assert shown.seq == 1
    told = world.heard.of(DEVICE, Linked)[0]
    assert (told.jid, told.phone) == (jid(world.ours), world.ours)
    assert (await connected(world)).jid == told.jid
    await session.stop()


async def a_link_code_links(world: World) -> None:
    session = world.engine.session(world.spec(linked=False))
    await session.start()
    await world.heard.wait(DEVICE, QrShown)
    code = await session.pair_code(world.ours)
    assert len(code.code) == 9
    assert code.code[4] == "-"
    await world.type_code(code)
    assert (await connected(world)).phone == world.ours


async def a_code_needs_a_session_that_shows_qr_codes(world: World) -> None:
    error = await refused(world.engine.session(world.spec(linked=False)).pair_code(world.ours))
    assert error.code == "no_qr"


async def a_stopped_session_resumes_without_qr(world: World) -> None:
    await (await linked(world)).stop()
    since = len(world.heard.incoming)
    again = world.engine.session(world.spec(linked=True))
    await again.start()
    await again.start()
    await connected(world, since)
    assert world.heard.of(DEVICE, QrShown, since) == []


async def texts_go_both_ways(world: World) -> None:
    session = await linked(world)
    sent = await session.send(OutgoingMessage(jid(world.other), "text", "hello there"))
    assert sent.wa_id.startswith("3EB0")
    assert sent.timestamp > 1_700_000_000
    await world.other_got("hello there")
    await world.other_writes("hello yourself")
    told = await world.heard.wait(DEVICE, MessageIn, lambda m: m.text == "hello yourself")
    assert told.content[told.type]
    assert told.kind == "text"
    assert not told.from_me
    assert told.chat == told.sender
    assert jid(world.other) in {told.chat, told.chat_alt}


async def an_answer_is_sent(world: World) -> None:
    session = await linked(world)
    await world.other_writes("a question")
    asked = await world.heard.wait(DEVICE, MessageIn, lambda m: m.text == "a question")
    quoted = Quoted(asked.wa_id, asked.sender, asked.text)
    await session.send(OutgoingMessage(jid(world.other), "text", "an answer", reply=quoted))
    await world.other_got("an answer")


async def receipts_follow(world: World) -> None:
    session = await linked(world)
    sent = await session.send(OutgoingMessage(jid(world.other), "text", "read me"))
    await world.other_got("read me")
    await world.other_reads(sent)
    for status in (MessageStatus.DELIVERED, MessageStatus.READ):
        receipt = await world.heard.wait(DEVICE, ReceiptIn, _of(sent, status))
        assert jid(world.other) in {receipt.sender, receipt.sender_alt}


def _of(sent: Sent, status: MessageStatus) -> Callable[[ReceiptIn], bool]:
    return lambda receipt: sent.wa_id in receipt.wa_ids and receipt.status is status


async def a_picture_can_be_downloaded(world: World) -> None:
    session = await linked(world)
    picture = await world.other_sends_picture()
    told = await world.heard.wait(DEVICE, MessageIn, lambda m: m.kind == "image")
    assert told.type == "imageMessage"
    assert told.content["imageMessage"]["fileLength"] == str(len(picture))
    assert told.media is not None
    path = world.spec(linked=True).folder.parent / "picture"
    assert await session.download(told.media.source, path) == len(picture)
    assert await asyncio.to_thread(Path.read_bytes, path) == picture


async def a_number_without_whatsapp_is_refused(world: World) -> None:
    session = await linked(world)
    error = await refused(session.send(OutgoingMessage(jid(world.nobody), "text", "anybody?")))
    assert error.code == "not_on_whatsapp"
    assert not error.retryable
    assert not error.unknown_outcome
    assert await session.check([world.other, world.nobody]) == {
        world.other: jid(world.other),
        world.nobody: None,
    }


async def what_was_written_meanwhile_arrives_after_a_lost_connection(world: World) -> None:
    session = await linked(world)
    since = len(world.heard.incoming)
    await world.drop()
    await world.heard.wait(
        DEVICE, StateChanged, lambda state: state.status is DeviceStatus.RECONNECTING, since
    )
    await world.other_writes("while you were away")
    await world.heal()
    await connected(world, since)
    await world.heard.wait(DEVICE, MessageIn, lambda m: m.text == "while you were away")
    await session.send(OutgoingMessage(jid(world.other), "text", "back again"))
    await world.other_got("back again")


async def unlinking_on_the_phone_is_told(world: World) -> None:
    session = await linked(world)
    since = len(world.heard.incoming)
    await world.unlink()
    await world.heard.wait(DEVICE, StateChanged, lambda state: state.status is DeviceStatus.LOGGED_OUT, since)
    error = await refused(session.send(OutgoingMessage(jid(world.other), "text", "late")))
    assert error.retryable


async def nothing_is_sent_before_the_connection_stands(world: World) -> None:
    session = world.engine.session(world.spec(linked=False))
    error = await refused(session.send(OutgoingMessage(jid(world.other), "text", "early")))
    assert error.code == "not_connected"
    assert error.retryable


async def logging_out_forgets_the_link(world: World) -> None:
    session = await linked(world)
    await session.logout()
    await session.stop()
    since = len(world.heard.incoming)
    again = world.engine.session(world.spec(linked=False))
    await again.start()
    await world.heard.wait(DEVICE, QrShown, since=since)


async def stopping_is_quick_and_may_be_repeated(world: World) -> None:
    session = world.engine.session(world.spec(linked=False))
    await session.start()
    await world.heard.wait(DEVICE, QrShown)
    async with asyncio.timeout(PATIENCE_S):
        await session.stop()
    async with asyncio.timeout(PATIENCE_S):
        await session.stop()
    await world.engine.forget(world.spec(linked=False))


PROMISES: tuple[Callable[[World], Awaitable[None]], ...] = (
    a_qr_code_links,
    a_link_code_links,
    a_code_needs_a_session_that_shows_qr_codes,
    a_stopped_session_resumes_without_qr,
    texts_go_both_ways,
    an_answer_is_sent,
    receipts_follow,
    a_picture_can_be_downloaded,
    a_number_without_whatsapp_is_refused,
    what_was_written_meanwhile_arrives_after_a_lost_connection,
    unlinking_on_the_phone_is_told,
    nothing_is_sent_before_the_connection_stands,
    logging_out_forgets_the_link,
    stopping_is_quick_and_may_be_repeated,
)
