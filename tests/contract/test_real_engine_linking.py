"""Linking, resuming and losing the link, over the loopback network."""

import asyncio
from pathlib import Path

import pytest
from engine_harness import ANN, BEA, bench, linked_bench, shortened, until
from processes import memory_kib

from appliance.engine.base import EngineError, Linked, OutgoingMessage, QrShown, StateChanged
from appliance.model.device import DeviceStatus


def program_kib(pid: int) -> int:
    """How much of its files a process has mapped, as far as it did not change it."""
    return memory_kib(pid, "Private_Clean") + memory_kib(pid, "Shared_Clean")


async def test_a_qr_code_links_and_the_name_follows(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.net.add_account(ANN, "Ann")
        await b.link("d1", ANN)
        linked = await b.heard.wait("d1", Linked)
        assert (linked.jid, linked.phone) == (f"{ANN}@s.whatsapp.net", ANN)
        assert linked.lid is not None
        assert linked.lid.endswith("@lid")
        states = [s.status for s in b.heard.of("d1", StateChanged)]
        assert states[:3] == [DeviceStatus.CONNECTING, DeviceStatus.QR, DeviceStatus.CONNECTED]
        named = await b.heard.wait("d1", StateChanged, lambda s: s.push_name == "Ann")
        assert named.status is DeviceStatus.CONNECTED


async def test_a_link_code_links(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        session = b.session("d1")
        await session.start()
        await b.heard.wait("d1", QrShown)
        made = await session.pair_code(ANN)
        assert len(made.code) == 9
        assert made.code[4] == "-"
        await asyncio.to_thread(b.net.enter_link_code, ANN, made.code)
        assert (await b.heard.state("d1", DeviceStatus.CONNECTED)).phone == ANN


async def test_a_code_needs_a_session_that_shows_qr(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with pytest.raises(EngineError) as refused:
            await b.session("d1").pair_code(ANN)
        assert refused.value.code == "no_qr"


async def test_what_only_the_start_needed_is_let_go_once_the_session_is_still(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        pid = session.worker_pid
        assert pid is not None
        needed = program_kib(pid)
        await until(lambda: program_kib(pid) < needed / 2)
        assert await session.check([BEA]) == {BEA: f"{BEA}@s.whatsapp.net"}


async def test_a_linked_session_resumes_without_qr(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        first = await b.link("d1", ANN)
        await first.stop()
        since = len(b.heard.incoming)
        again = b.session("d1", linked=True)
        await again.start()
        await again.start()
        await b.heard.state("d1", DeviceStatus.CONNECTED, since)
        assert not b.heard.of("d1", QrShown, since)
        numbered = [i for i in b.heard.incoming if i.seq]
        assert len({i.incarnation for i in numbered}) == 2
        assert sorted(numbered, key=lambda i: (i.incarnation, i.seq)) == numbered


async def test_unlinked_from_the_phone(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        await asyncio.to_thread(b.net.unlink, ANN)
        told = await b.heard.state("d1", DeviceStatus.LOGGED_OUT)
        assert (told.reason, told.reason_code) == ("device_removed", 401)
        with pytest.raises(EngineError) as refused:
            await session.send(OutgoingMessage(f"{BEA}@s.whatsapp.net", "text", "late"))
        assert refused.value.retryable


async def test_unlinked_from_the_phone_while_stopped(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        first = await b.resume()
        await first.stop()
        await asyncio.to_thread(b.net.unlink, ANN)
        await b.session("d1", linked=True).start()
        await b.heard.state("d1", DeviceStatus.LOGGED_OUT)


async def test_unlinked_by_us(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        await session.logout()
        assert (await b.heard.state("d1", DeviceStatus.LOGGED_OUT)).reason == "logout"
        assert not b.net.accounts[ANN].companions
        await session.stop()
        await b.engine.forget(b.spec("d1"))
        assert not (b.folder / "d1").exists()


async def test_logout_says_when_whatsapp_did_not_confirm(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        session = b.session("d1")
        with pytest.raises(EngineError) as refused:
            await session.logout()
        assert refused.value.code == "unlink_unconfirmed"


async def test_a_lost_session_file_is_a_lost_link(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.session("d1", linked=True).start()
        assert (await b.heard.state("d1", DeviceStatus.LOGGED_OUT)).reason == "session_lost"


async def test_a_ban_is_told_with_its_end(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        await b.resume()
        await asyncio.to_thread(b.net.ban, ANN, 101, 7200)
        told = await b.heard.state("d1", DeviceStatus.BANNED)
        assert told.reason == "sent_to_too_many_people"
        assert told.reason_code == 402
        assert told.until is not None
        assert told.until % 1 == 0


async def test_an_outdated_client_is_told(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        await b.resume()
        await asyncio.to_thread(b.net.outdate, ANN)
        assert (await b.heard.state("d1", DeviceStatus.OUTDATED)).reason_code == 405


async def test_an_unscanned_qr_times_out(tmp_path: Path) -> None:
    async with bench(tmp_path, deadlines=shortened(away_s=5)) as b:
        b.net.faults.qr_refs = 1
        session = b.session("d1")
        await session.start()
        await b.heard.wait("d1", QrShown)
        told = await b.heard.wait(
            "d1", StateChanged, lambda s: s.status is DeviceStatus.DISCONNECTED, timeout_s=90
        )
        assert told.reason == "qr_timeout"
