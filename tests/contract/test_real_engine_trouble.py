"""Lost connections, hung networks and deadlines, over the loopback network."""

import asyncio
import time
from pathlib import Path

import pytest
from engine_harness import ANN, BEA, Bench, bench, linked_bench, shortened, until
from loopback.phone import Phone

from appliance.engine.base import EngineError, MessageIn, OutgoingMessage, QrShown, StateChanged
from appliance.engine.launcher import ExecLauncher
from appliance.engine.session import RealSession
from appliance.model.device import DeviceStatus

HELLO = OutgoingMessage(f"{BEA}@s.whatsapp.net", "text", "hello")


async def bea_writes(b: Bench, text: str) -> None:
    await asyncio.to_thread(b.net.on_phone, BEA, lambda p: p.send_text(ANN, text))


async def test_a_dropped_connection_comes_back_by_itself(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        pid = session.worker_pid
        since = len(b.heard.incoming)
        await asyncio.to_thread(b.net.drop, ANN)
        lost = await b.heard.state("d1", DeviceStatus.RECONNECTING, since)
        assert lost.reason == "connection_lost"
        await bea_writes(b, "while you were away")
        await b.heard.state("d1", DeviceStatus.CONNECTED, since)
        await b.heard.text("d1", "while you were away")
        assert session.worker_pid == pid
        await session.send(HELLO)


async def test_no_network_at_the_start_is_tried_again(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        await asyncio.to_thread(b.net.refuse_connections)
        since = len(b.heard.incoming)
        session = b.session("d1", linked=True)
        await session.start()
        lost = await b.heard.state("d1", DeviceStatus.RECONNECTING, since)
        assert lost.reason == "connection_failed"
        with pytest.raises(EngineError) as refused:
            await session.send(HELLO)
        assert (refused.value.code, refused.value.retryable) == ("not_connected", True)
        await asyncio.to_thread(b.net.accept_connections)
        await b.heard.state("d1", DeviceStatus.CONNECTED, since)


async def test_a_server_error_at_login_is_tried_again(tmp_path: Path) -> None:
    async with linked_bench(tmp_path, deadlines=shortened(away_s=4)) as b:
        since = len(b.heard.incoming)
        b.net.faults.login_failure = 503
        await b.session("d1", linked=True).start()
        await b.heard.state("d1", DeviceStatus.RECONNECTING, since)
        b.net.faults.login_failure = 0
        await b.heard.state("d1", DeviceStatus.CONNECTED, since)


async def test_an_unknown_refusal_at_login_is_tried_again(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        since = len(b.heard.incoming)
        b.net.faults.login_failure = 418
        await b.session("d1", linked=True).start()
        told = await b.heard.state("d1", DeviceStatus.RECONNECTING, since)
        assert told.reason == "refused"
        b.net.faults.login_failure = 0
        await b.heard.state("d1", DeviceStatus.CONNECTED, since)


async def test_a_replaced_session_waits_long_before_it_fights_back(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        since = len(b.heard.incoming)
        await asyncio.to_thread(b.net.stream_error, ANN, None, "replaced")
        told = await b.heard.state("d1", DeviceStatus.RECONNECTING, since)
        assert told.reason == "replaced"
        await until(lambda: session.worker_pid is None)
        before = time.monotonic()
        await session.stop()
        assert time.monotonic() - before < 5


async def test_a_send_that_nobody_answers_ends_the_worker_not_the_device(tmp_path: Path) -> None:
    async with linked_bench(tmp_path, deadlines=shortened(send_s=1.5)) as b:
        session = await b.resume()
        pid = session.worker_pid
        b.net.faults.withhold_acks = True
        since = len(b.heard.incoming)
        with pytest.raises(EngineError) as hung:
            await session.send(HELLO)
        assert (hung.value.code, hung.value.unknown_outcome) == ("engine_timeout", True)
        b.net.faults.withhold_acks = False
        assert (await b.heard.state("d1", DeviceStatus.RECONNECTING, since)).reason == "worker_ended"
        await b.heard.state("d1", DeviceStatus.CONNECTED, since)
        assert session.worker_pid != pid
        await session.send(HELLO)
        assert dict(b.engine.lives) == {("d1", "killed"): 1, ("d1", "restarted"): 1}
        kinds = {kind: (device, pid) for kind, device, pid in b.engine.processes()}
        assert kinds["worker"] == ("d1", session.worker_pid)
        assert kinds.keys() == {"worker", "fork_server"}


async def test_what_waited_is_read_before_anything_is_sent_to_those_who_wrote(tmp_path: Path) -> None:
    """Both at once would undo each other's keys: BEA could not open some of what she got."""

    async def write(phone: Phone) -> None:
        for n in range(100):
            await phone.send_text(ANN, f"waiting {n}")

    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        await session.send(HELLO)
        await asyncio.to_thread(b.net.on_phone, BEA, lambda p: p.send_text(ANN, "an answer"))
        await b.heard.text("d1", "an answer")
        await session.stop()
        await asyncio.to_thread(b.net.on_phone, BEA, write)
        since = len(b.heard.incoming)
        await session.start()
        await b.heard.state("d1", DeviceStatus.CONNECTED, since)
        for n in range(30):
            await session.send(OutgoingMessage(HELLO.to, "text", f"sent meanwhile {n}"))
        await b.heard.text("d1", "waiting 99")
        assert b.net.phones[BEA].undecrypted == []


async def test_a_send_under_way_ends_before_its_session_is_stopped(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        b.net.faults.ack_delay_s = 0.5
        sending = asyncio.create_task(session.send(HELLO))
        await asyncio.to_thread(b.net.on_phone, BEA, lambda p: p.wait_for(HELLO.text))
        stopping = asyncio.create_task(session.stop())
        await asyncio.sleep(0)
        with pytest.raises(EngineError) as refused:
            await session.send(HELLO)
        assert refused.value.retryable
        assert (await sending).wa_id == b.net.phones[BEA].inbox[0].id
        await stopping


async def test_a_hung_network_at_the_start_does_not_hold_the_device(tmp_path: Path) -> None:
    async with linked_bench(tmp_path, deadlines=shortened(away_s=1.5)) as b:
        b.net.faults.hang_upgrade = True
        session = b.session("d1", linked=True)
        await session.start()
        first = await _pid_of(session)
        await until(lambda: session.worker_pid not in {None, first})
        since = len(b.heard.incoming)
        b.net.faults.hang_upgrade = False
        await b.heard.state("d1", DeviceStatus.CONNECTED, since)


async def test_two_sends_at_once_keep_their_order(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        texts = [f"in order {n}" for n in range(10)]
        await asyncio.gather(*(session.send(OutgoingMessage(HELLO.to, "text", t)) for t in texts))
        assert [m.text for m in b.net.phones[BEA].inbox] == texts


@pytest.mark.parametrize("fault", ["none", "hang_upgrade", "silent_login", "mute", "showing_qr"])
async def test_stopping_is_quick_whatever_the_network_does(tmp_path: Path, fault: str) -> None:
    async with linked_bench(tmp_path) as b:
        if fault == "showing_qr":
            session = b.session("new")
            await session.start()
            await b.heard.wait("new", QrShown)
        else:
            session = await b.resume()
        if fault in {"hang_upgrade", "silent_login"}:
            await session.stop()
            setattr(b.net.faults, fault, True)
            session = b.session("d1", linked=True)
            await session.start()
            await _pid_of(session)
        elif fault == "mute":
            b.net.faults.mute = True
            sending = asyncio.create_task(session.send(HELLO))
        before = time.monotonic()
        await session.stop()
        assert time.monotonic() - before < 5
        assert session.worker_pid is None
        if fault == "mute":
            with pytest.raises(EngineError):
                await sending


async def test_a_worker_that_is_executed_works_the_same(tmp_path: Path) -> None:
    async with bench(tmp_path, ExecLauncher()) as b:
        await asyncio.to_thread(b.net.add_account, BEA, "Bea")
        session = await b.link("d1", ANN)
        await session.send(HELLO)
        await bea_writes(b, "and back")
        await b.heard.text("d1", "and back")


async def test_events_are_held_back_until_they_are_acknowledged(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        b.heard.acknowledges = False
        await bea_writes(b, "keep me")
        await b.heard.text("d1", "keep me")
        await session.stop()
        b.heard.acknowledges = True
        since = len(b.heard.incoming)
        await b.engine.recover(b.spec("d1", linked=True))
        again = await b.heard.text("d1", "keep me", since)
        [first, second] = [
            i for i in b.heard.incoming if isinstance(i.event, MessageIn) and i.event.wa_id == again.wa_id
        ]
        assert (first.incarnation, first.seq) == (second.incarnation, second.seq)
        since = len(b.heard.incoming)
        await b.engine.recover(b.spec("d1", linked=True))
        assert len(b.heard.incoming) == since


async def _pid_of(session: RealSession) -> int | None:
    await until(lambda: session.worker_pid is not None)
    return session.worker_pid


async def test_a_lost_link_while_showing_qr_shows_a_new_one(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.session("d1").start()
        await b.heard.wait("d1", QrShown)
        since = len(b.heard.incoming)
        await asyncio.to_thread(b.net.drop_waiting)
        again = await b.heard.wait("d1", StateChanged, since=since)
        assert (again.status, again.reason) == (DeviceStatus.CONNECTING, "connection_lost")
        assert (await b.heard.wait("d1", QrShown, since=since)).seq == 1
