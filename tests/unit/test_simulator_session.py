"""The simulator as an engine: linking, states, every sandbox number, and what stops when it stops."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import pytest
from patience import PATIENCE_S

from appliance.engine.base import (
    Applied,
    ChatNamed,
    EngineError,
    EngineEvent,
    Incoming,
    Linked,
    MessageIn,
    OutgoingMessage,
    PretendMessage,
    QrShown,
    Quoted,
    ReceiptIn,
    Session,
    SessionSpec,
    StateChanged,
)
from appliance.engine.simulator import Simulator
from appliance.engine.simulator_peers import PLAYS, play_of, registered
from appliance.gateway.clock import SystemClock
from appliance.model.device import DeviceStatus
from appliance.model.jid import parse_jid
from appliance.model.message import MessageStatus

E = TypeVar("E", bound=EngineEvent)
DEVICE = "cdevice00000000000000000000"


class Gateway:
    """The other side of the port: keeps what it is told, in order, and acknowledges it."""

    def __init__(self) -> None:
        self.told: list[EngineEvent] = []
        self.times: list[float] = []
        self._changed = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def put(self, incoming: Incoming) -> None:
        await self.open.wait()
        assert incoming.device_id == DEVICE
        self.told.append(incoming.event)
        self.times.append(asyncio.get_running_loop().time())
        incoming.ack(Applied(f"m{len(self.told)}", len(self.told)))
        self._changed.set()

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.told if isinstance(event, kind)]

    async def until(self, kind: type[E], count: int = 1) -> list[E]:
        """The first `count` events of that kind."""
        async with asyncio.timeout(PATIENCE_S):
            while len(found := self.all(kind)) < count:
                self._changed.clear()
                await self._changed.wait()
        return found


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
async def simulator(gateway: Gateway) -> AsyncIterator[Simulator]:
    simulator = Simulator(SystemClock())
    await simulator.open(gateway.put)
    yield simulator
    await simulator.close()


def spec(folder: Path, *, linked: bool) -> SessionSpec:
    return SessionSpec(DEVICE, folder, sandbox=True, linked=linked, phone="999000000000" if linked else None)


@pytest.fixture
async def session(simulator: Simulator, gateway: Gateway, tmp_path: Path) -> Session:
    """A linked session that is connected."""
    session = simulator.session(spec(tmp_path, linked=True))
    await session.start()
    await gateway.until(StateChanged)
    return session


def text(number: str, said: str = "Halo!") -> OutgoingMessage:
    to = number if "@" in number else f"9990000000{number}@s.whatsapp.net"
    return OutgoingMessage(to, "text", said)


async def test_a_linked_session_is_connected_at_once(session: Session, gateway: Gateway) -> None:
    [state] = gateway.all(StateChanged)
    assert (state.status, state.jid, state.phone) == (
        DeviceStatus.CONNECTED,
        "999000000000@s.whatsapp.net",
        "999000000000",
    )
    assert state.lid is not None
    assert state.lid.endswith("@lid")
    await session.start()
    assert len(gateway.all(StateChanged)) == 1


async def test_an_unlinked_session_shows_a_code_and_can_be_scanned(
    simulator: Simulator, gateway: Gateway, tmp_path: Path
) -> None:
    session = simulator.session(spec(tmp_path, linked=False))
    started = asyncio.get_running_loop().time()
    await session.start()
    [shown] = await gateway.until(QrShown)
    assert gateway.times[0] - started < 0.2
    assert shown.seq == 1
    assert shown.qr.startswith("2@")
    assert shown.qr.count(",") == 3
    assert 59_000 < shown.expires_at - SystemClock().now_ms() <= 60_000
    with pytest.raises(EngineError, match="not_connected"):
        await session.send(text("03"))

    await simulator.scan(DEVICE, "628111222333", "Ani")
    linked, connected = gateway.told[1:]
    assert isinstance(linked, Linked)
    assert (linked.phone, linked.push_name) == ("628111222333", "Ani")
    assert isinstance(connected, StateChanged)
    assert (connected.status, connected.phone) == (DeviceStatus.CONNECTED, "628111222333")
    with pytest.raises(EngineError, match="no_qr"):
        await simulator.scan(DEVICE, None, None)


async def test_codes_follow_each_other_until_the_attempt_is_over(gateway: Gateway, tmp_path: Path) -> None:
    simulator = Simulator(SystemClock(), (0.06, 0.02, 0.02))
    await simulator.open(gateway.put)
    session = simulator.session(spec(tmp_path, linked=False))
    await session.start()
    [ended] = await gateway.until(StateChanged)
    assert (ended.status, ended.reason) == (DeviceStatus.DISCONNECTED, "qr_timeout")
    assert [shown.seq for shown in gateway.all(QrShown)] == [1, 2, 3]
    assert len({shown.qr for shown in gateway.all(QrShown)}) == 3
    with pytest.raises(EngineError, match="no_qr"):
        await session.pair_code("628111222333")
    await session.start()
    assert [shown.seq for shown in await gateway.until(QrShown, 4)][-1] == 1
    await simulator.close()


async def test_a_link_code_is_completed_by_a_scan(
    simulator: Simulator, gateway: Gateway, tmp_path: Path
) -> None:
    session = simulator.session(spec(tmp_path, linked=False))
    await session.start()
    code = await session.pair_code("628111222333")
    assert len(code.code) == 9
    assert code.code[4] == "-"
    assert code.expires_at > SystemClock().now_ms()
    await simulator.scan(DEVICE, None, None)
    [linked] = gateway.all(Linked)
    assert linked.phone == "628111222333"


async def test_ids_look_like_whatsapps_and_never_repeat(session: Session) -> None:
    ids = [(await session.send(text("01"))).wa_id for _ in range(200)]
    assert len(set(ids)) == 200
    assert all(len(i) == 22 and i.startswith("3EB0") and i == i.upper() for i in ids)


LADDERS = {
    "01": [],
    "02": ["delivered"],
    "03": ["delivered", "read"],
    "77": ["delivered", "read"],
    "04": ["delivered", "read", "played"],
    "07": ["failed"],
    "09": ["read", "read", "delivered", "delivered"],
}


@pytest.mark.parametrize("number", LADDERS)
async def test_receipts_of_each_number(session: Session, gateway: Gateway, number: str) -> None:
    started = asyncio.get_running_loop().time()
    sent = await session.send(text(number))
    assert asyncio.get_running_loop().time() - started < 0.05
    # A message to an ordinary person, sent after it, ends later: what has not come by then does not come.
    marker = await session.send(text("04"))
    async with asyncio.timeout(PATIENCE_S):
        while not any(r.wa_ids == [marker.wa_id] and r.status == "played" for r in gateway.all(ReceiptIn)):
            await gateway.until(ReceiptIn, len(gateway.all(ReceiptIn)) + 1)
    receipts = [r for r in gateway.all(ReceiptIn) if r.wa_ids == [sent.wa_id]]
    assert [str(r.status) for r in receipts] == LADDERS[number]
    assert all(r.sender_alt == f"9990000000{number}@s.whatsapp.net" for r in receipts)
    if number == "07":
        assert receipts[0].error_code == "engine_error"


async def test_receipts_come_at_their_time(session: Session, gateway: Gateway) -> None:
    await session.send(text("03"))
    started = asyncio.get_running_loop().time()
    await gateway.until(ReceiptIn, 2)
    delivered, read = (at - started for at in gateway.times[-2:])
    assert 0.15 < delivered < 0.35
    assert 0.35 < read < 0.6


REFUSALS = {
    "06": ("expired", False),
    "08": ("engine_timeout", True),
    "22": ("not_on_whatsapp", False),
    "63": ("reachout_restricted", False),
    "120363999000000002@g.us": ("not_in_group", False),
}


@pytest.mark.parametrize("number", REFUSALS)
async def test_refusals_of_each_number(session: Session, number: str) -> None:
    with pytest.raises(EngineError) as refused:
        await session.send(text(number))
    assert (refused.value.code, refused.value.unknown_outcome) == REFUSALS[number]
    assert not refused.value.retryable
    if number == "63":
        assert refused.value.until is not None
        assert refused.value.until > SystemClock().now_ms()


async def test_the_slow_number_takes_its_time_and_ends_unknown_when_the_session_stops(
    session: Session,
) -> None:
    assert PLAYS["05"].taken_s == 20
    sending = asyncio.create_task(session.send(text("05")))
    done, _ = await asyncio.wait([sending], timeout=0.1)
    assert not done
    await session.stop()
    with pytest.raises(EngineError) as interrupted:
        await asyncio.wait_for(sending, PATIENCE_S)
    assert interrupted.value.unknown_outcome


async def test_echo(session: Session, gateway: Gateway) -> None:
    await session.send(text("10", "Apa kabar?"))
    [reply] = await gateway.until(MessageIn)
    assert reply.content == {"conversation": "Apa kabar?"}
    assert (reply.type, reply.kind, reply.text) == ("conversation", "text", "Apa kabar?")
    assert reply.chat == reply.sender
    assert reply.chat.endswith("@lid")
    assert reply.chat_alt == "999000000010@s.whatsapp.net"


async def test_a_reply_quotes_our_message(session: Session, gateway: Gateway) -> None:
    sent = await session.send(text("11"))
    [reply] = await gateway.until(MessageIn)
    context = reply.content["extendedTextMessage"]["contextInfo"]
    assert context["stanzaId"] == sent.wa_id
    assert context["participant"] == "999000000000@s.whatsapp.net"
    assert context["quotedMessage"] == {"conversation": "Halo!"}
    assert reply.reply_to is not None
    assert (reply.reply_to.message_id, reply.reply_to.text) == (sent.wa_id, "Halo!")


async def test_a_reaction_names_our_message(session: Session, gateway: Gateway) -> None:
    sent = await session.send(text("12"))
    [reaction] = await gateway.until(MessageIn)
    assert (reaction.kind, reaction.type) == ("reaction", "reactionMessage")
    assert reaction.details == {"reaction": {"messageId": sent.wa_id, "emoji": "👍"}}
    assert reaction.content["reactionMessage"]["key"]["id"] == sent.wa_id


async def test_a_picture_can_be_downloaded(session: Session, gateway: Gateway, tmp_path: Path) -> None:
    await session.send(text("13"))
    [picture] = await gateway.until(MessageIn)
    assert picture.media is not None
    assert picture.media.mimetype == "image/jpeg"
    size = await session.download(picture.media.source, tmp_path / "picture")
    assert size == picture.media.size == (tmp_path / "picture").stat().st_size
    assert (tmp_path / "picture").read_bytes().startswith(b"\xff\xd8\xff")


async def test_a_stranger_writes_without_a_number(session: Session, gateway: Gateway) -> None:
    await session.send(text("14"))
    [reply] = await gateway.until(MessageIn)
    assert reply.chat.endswith("@lid")
    assert reply.chat_alt is None
    assert reply.sender_alt is None
    await session.send(text("10"))
    assert (await gateway.until(MessageIn, 2))[1].chat != reply.chat


async def test_undecryptable_first_then_the_content(session: Session, gateway: Gateway) -> None:
    await session.send(text("15"))
    broken, whole = await gateway.until(MessageIn, 2)
    assert (broken.type, broken.kind, broken.content, broken.update) == (
        "undecryptable",
        "undecryptable",
        {},
        False,
    )
    assert whole.update
    assert whole.wa_id == broken.wa_id
    assert whole.content == {"conversation": "Halo!"}


async def test_a_picture_whose_download_fails(session: Session, gateway: Gateway, tmp_path: Path) -> None:
    await session.send(text("16"))
    [picture] = await gateway.until(MessageIn)
    assert picture.media is not None
    with pytest.raises(EngineError, match="media_unavailable"):
        await session.download(picture.media.source, tmp_path / "picture")


async def test_a_group_echoes_with_its_participant(session: Session, gateway: Gateway) -> None:
    await session.send(text("120363999000000001@g.us"))
    [reply] = await gateway.until(MessageIn)
    assert reply.chat == "120363999000000001@g.us"
    assert reply.chat_alt is None
    assert reply.sender_alt == "999000000010@s.whatsapp.net"
    assert [named.chat for named in gateway.all(ChatNamed)] == ["120363999000000001@g.us"]
    receipts = gateway.all(ReceiptIn)
    assert [r.status for r in receipts] == [MessageStatus.DELIVERED, MessageStatus.READ]
    assert receipts[0].chat == reply.chat
    assert receipts[0].sender == reply.sender


def test_the_table_is_the_contracts() -> None:
    assert set(PLAYS) == {
        *("01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11"),
        *("12", "13", "14", "15", "16", "22", "63"),
    }
    ordinary = play_of(parse_jid("628111222333@s.whatsapp.net"))
    assert ordinary.receipts == PLAYS["03"].receipts
    assert ordinary.answers is None
    assert play_of(parse_jid("628111222322@s.whatsapp.net")).refusal is None


async def test_every_number_but_one_is_registered(session: Session) -> None:
    found = await session.check(["628111222333", "999000000022"])
    assert found == {"628111222333": "628111222333@s.whatsapp.net", "999000000022": None}
    assert registered("999000000023")


async def test_what_comes_while_the_connection_is_lost_arrives_when_it_is_back(
    session: Session, simulator: Simulator, gateway: Gateway
) -> None:
    await session.send(text("03"))
    await simulator.set_state(DEVICE, StateChanged(DeviceStatus.RECONNECTING, "connection_lost"))
    with pytest.raises(EngineError) as refused:
        await session.send(text("03"))
    assert refused.value.retryable
    writing = asyncio.create_task(simulator.write(DEVICE, PretendMessage(text="while you were away")))
    done, _ = await asyncio.wait([writing], timeout=0.6)
    assert not done
    assert gateway.all(ReceiptIn) == []
    assert gateway.all(MessageIn) == []
    await simulator.set_state(DEVICE, StateChanged(DeviceStatus.CONNECTED))
    [(told, applied)] = await asyncio.wait_for(writing, PATIENCE_S)
    assert told.text == "while you were away"
    assert applied.message_id is not None
    assert len(gateway.all(ReceiptIn)) == 2


async def test_a_state_can_come_later(session: Session, simulator: Simulator, gateway: Gateway) -> None:
    await simulator.set_state(DEVICE, StateChanged(DeviceStatus.RECONNECTING), after_s=0.05)
    assert len(gateway.all(StateChanged)) == 1
    await gateway.until(StateChanged, 2)
    with pytest.raises(EngineError, match="not_connected"):
        await session.send(text("03"))


async def test_a_ban_ends_the_session_and_can_be_healed(
    session: Session, simulator: Simulator, gateway: Gateway
) -> None:
    await simulator.set_state(DEVICE, StateChanged(DeviceStatus.BANNED, until=1_900_000_000_000))
    assert gateway.all(StateChanged)[-1].until == 1_900_000_000_000
    with pytest.raises(EngineError, match="not_connected"):
        await session.send(text("03"))
    await simulator.set_state(DEVICE, StateChanged(DeviceStatus.CONNECTED))
    assert (await session.send(text("03"))).wa_id


async def test_unlinked_from_the_phone(session: Session, simulator: Simulator, gateway: Gateway) -> None:
    await session.send(text("03"))
    await simulator.set_state(DEVICE, StateChanged(DeviceStatus.LOGGED_OUT, "device_removed"))
    with pytest.raises(EngineError, match="not_connected"):
        await simulator.set_state(DEVICE, StateChanged(DeviceStatus.CONNECTED))
    await session.start()
    await gateway.until(QrShown)
    await simulator.scan(DEVICE, None, None)
    await session.send(text("01"))
    assert gateway.all(ReceiptIn) == []


async def test_nothing_happens_after_stop_and_the_link_is_kept(
    session: Session, simulator: Simulator, gateway: Gateway
) -> None:
    await session.send(text("03"))
    await session.stop()
    await session.stop()
    before = len(gateway.told)
    await session.start()
    await gateway.until(StateChanged, 2)
    await session.send(text("03"))
    await gateway.until(ReceiptIn, 2)
    assert len(gateway.told) == before + 3


async def test_logout_forgets_the_link(session: Session, gateway: Gateway) -> None:
    await session.logout()
    await session.start()
    await gateway.until(QrShown)


async def test_stopping_does_not_wait_for_a_gateway_that_takes_nothing(
    session: Session, gateway: Gateway
) -> None:
    gateway.open.clear()
    await session.send(text("10"))
    await asyncio.wait([asyncio.create_task(gateway.open.wait())], timeout=0.3)
    async with asyncio.timeout(PATIENCE_S):
        await session.stop()


async def test_the_person_writes_with_a_file_of_their_own(
    session: Session, simulator: Simulator, gateway: Gateway, tmp_path: Path
) -> None:
    given = tmp_path / "given.pdf"
    given.write_bytes(b"%PDF-1.7 given")
    message = PretendMessage(kind="document", path=str(given), filename="price list.pdf", text="Prices")
    [(told, _)] = await simulator.write(DEVICE, message)
    given.unlink()
    assert told.media is not None
    assert (told.media.filename, told.media.size, told.text) == ("price list.pdf", 14, "Prices")
    assert await session.download(told.media.source, tmp_path / "got") == 14
    assert (tmp_path / "got").read_bytes() == b"%PDF-1.7 given"
    await session.stop()
    await simulator.forget(spec(tmp_path, linked=True))
    with pytest.raises(EngineError, match="media_unavailable"):
        await session.download(told.media.source, tmp_path / "again")


async def test_many_messages_come_in_order(session: Session, simulator: Simulator, gateway: Gateway) -> None:
    told = await simulator.write(DEVICE, PretendMessage(phone="628111222333", text="Hai"), 1000)
    assert [event for event, _ in told] == gateway.all(MessageIn)
    assert len({event.wa_id for event, _ in told}) == 1000
    assert [applied.event_no for _, applied in told] == sorted(
        no for _, applied in told if (no := applied.event_no)
    )


async def test_what_the_owner_types_on_the_phone(session: Session, simulator: Simulator) -> None:
    message = PretendMessage(from_me=True, phone="628111222333", text="typed", reply=Quoted("3A00"))
    [(told, _)] = await simulator.write(DEVICE, message)
    assert told.from_me
    assert told.chat_alt == "628111222333@s.whatsapp.net"
    assert told.sender_alt == "999000000000@s.whatsapp.net"
    assert told.push_name is None


async def test_a_device_without_a_session_refuses_the_strings(simulator: Simulator) -> None:
    with pytest.raises(EngineError, match="no_qr"):
        await simulator.scan(DEVICE, None, None)
    with pytest.raises(EngineError, match="not_connected"):
        await simulator.write(DEVICE, PretendMessage())
