"""What dies, and what does not notice: workers, the fork server, and main itself."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from engine_harness import Bench, bench, linked_bench, until
from loopback.phone import Phone
from patience import PATIENCE_S

from appliance.engine import spool
from appliance.engine.base import MessageIn, OutgoingMessage, SendEnded, StateChanged
from appliance.engine.launcher import ForkServerLauncher
from appliance.engine.session import RealSession
from appliance.model.device import DeviceStatus

ANN, BEA, CYD = "15550000001", "15550000002", "15550000003"
MANY = 600
PARENT = Path(__file__).with_name("engine_parent.py")


def to(number: str, text: str) -> OutgoingMessage:
    return OutgoingMessage(f"{number}@s.whatsapp.net", "text", text)


async def write(b: Bench, text: str, writer: str = CYD) -> None:
    await asyncio.to_thread(b.net.on_phone, writer, lambda p: p.send_text(ANN, text))


async def two(b: Bench) -> tuple[RealSession, RealSession]:
    await asyncio.to_thread(b.net.add_account, CYD, "Cyd")
    return await b.link("a", ANN), await b.link("b", BEA)


def pid_of(session: RealSession) -> int:
    assert session.worker_pid is not None
    return session.worker_pid


async def test_a_killed_worker_comes_back_and_nobody_else_notices(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        a, other = await two(b)
        killed, untouched = pid_of(a), pid_of(other)
        since = len(b.heard.incoming)
        os.kill(killed, signal.SIGKILL)
        lost = await b.heard.state("a", DeviceStatus.RECONNECTING, since)
        assert lost.reason == "worker_ended"
        await other.send(to(CYD, "still here"))
        await b.heard.state("a", DeviceStatus.CONNECTED, since)
        assert pid_of(a) != killed
        assert pid_of(other) == untouched
        await a.send(to(CYD, "back again"))
        assert {s.status for s in b.heard.of("b", StateChanged, since)} <= {DeviceStatus.CONNECTED}


async def test_a_killed_fork_server_is_replaced(tmp_path: Path) -> None:
    launcher = ForkServerLauncher()
    async with bench(tmp_path, launcher) as b:
        a, other = await two(b)
        assert launcher.pid is not None
        first, workers = launcher.pid, (pid_of(a), pid_of(other))
        os.kill(first, signal.SIGKILL)
        await a.send(to(CYD, "nothing happened"))
        await other.send(to(CYD, "nothing happened here"))
        assert (pid_of(a), pid_of(other)) == workers
        await asyncio.to_thread(b.net.add_account, "15550000004")
        third = await b.link("c", "15550000004")
        await third.send(to(CYD, "a new one"))
        assert launcher.pid not in {None, first}


async def test_when_memory_runs_out_a_worker_goes_before_main(tmp_path: Path) -> None:
    def told_kernel(pid: int | None) -> int:
        return int(Path(f"/proc/{pid or 'self'}/oom_score_adj").read_text("ascii"))

    launcher = ForkServerLauncher()
    async with bench(tmp_path, launcher) as b:
        session = await b.link("a", ANN)
        wanted = min(1000, told_kernel(None) + 500)
        assert [told_kernel(pid_of(session)), told_kernel(launcher.pid)] == [wanted, wanted]


async def test_workers_ignore_what_the_service_manager_sends_to_everybody(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        a, other = await two(b)
        for session in (a, other):
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(pid_of(session), number)
        await a.send(to(CYD, "alive"))
        await other.send(to(CYD, "alive too"))


async def test_main_killed_with_unacknowledged_events(tmp_path: Path) -> None:
    """The spool tells each of them exactly once, with the numbers they had."""
    async with bench(tmp_path) as b:
        await asyncio.to_thread(b.net.add_account, CYD, "Cyd")
        await (await b.link("a", ANN)).stop()
        spec = b.spec("a", linked=True)
        parent = await _start_parent(b, spec.folder)
        assert parent.stdout is not None
        await _line(parent.stdout, "connected")
        for n in range(20):
            await write(b, f"event {n}")
        seen = [await _line(parent.stdout, f"event {n}") for n in range(20)]
        parent.kill()
        await parent.wait()
        await until(lambda: bool(spool.mark_of(spec.folder)))
        since = len(b.heard.incoming)
        await b.engine.recover(spec)
        again = [
            f"{i.incarnation} {i.seq} {i.event.text}"
            for i in b.heard.incoming[since:]
            if hasattr(i.event, "text")
        ]
        assert again == seen
        assert not spool.mark_of(spec.folder)
        await b.session("a", linked=True).start()
        await b.heard.state("a", DeviceStatus.CONNECTED, since)


async def test_a_worker_killed_while_it_ends_has_kept_what_it_held(tmp_path: Path) -> None:
    """The spool is there before the end of the send that the worker waits for when main is gone."""
    async with linked_bench(tmp_path) as b:
        b.net.faults.withhold_acks = True
        spec = b.spec("d1", linked=True)
        parent = await _start_parent(b, spec.folder, BEA)
        assert parent.stdout is not None
        worker = int((await _line(parent.stdout, "connected")).split()[1])
        await asyncio.to_thread(b.net.on_phone, BEA, lambda p: p.wait_for("last words"))
        for n in range(5):
            await write(b, f"held {n}", BEA)
            await _line(parent.stdout, f"held {n}")
        parent.kill()
        await parent.wait()
        await until(lambda: spool.mark_of(spec.folder) is not None)
        assert _alive(worker)
        os.kill(worker, signal.SIGKILL)
        assert await _recovered(b) == [f"held {n}" for n in range(5)]


async def test_a_worker_killed_while_main_stops_it_has_kept_what_it_held(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        b.heard.acknowledges = False
        for n in range(5):
            await write(b, f"held {n}", BEA)
            await b.heard.text("d1", f"held {n}")
        pid = pid_of(session)
        stopping = asyncio.create_task(session.stop())
        await until(lambda: spool.mark_of(b.spec("d1").folder) is not None)
        assert _alive(pid)
        os.kill(pid, signal.SIGKILL)
        await stopping
        b.heard.acknowledges = True
        assert await _recovered(b) == [f"held {n}" for n in range(5)]


async def test_a_worker_whose_last_words_are_acknowledged_leaves_no_spool(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        b.heard.acknowledges = False
        await write(b, "acknowledged late", BEA)
        await b.heard.text("d1", "acknowledged late")
        stopping = asyncio.create_task(session.stop())
        await until(lambda: spool.mark_of(b.spec("d1").folder) is not None)
        b.heard.acknowledges = True
        b.heard.acknowledge_all()
        await stopping
        assert spool.mark_of(b.spec("d1").folder) is None


async def test_a_worker_that_is_ended_on_its_way_to_whatsapp_does_not_begin_to_read(tmp_path: Path) -> None:
    """It would be in the middle of one of many waiting messages when its time is over, and lose that."""
    texts = [f"waiting {n}" for n in range(MANY)]

    async def flood(phone: Phone) -> None:
        for text in texts:
            await phone.send_text(ANN, text)

    async with linked_bench(tmp_path) as b:
        await asyncio.to_thread(b.net.on_phone, BEA, flood)
        session = b.session("d1", linked=True)
        await session.start()
        await until(lambda: session.worker_pid is not None)
        await session.stop()
        assert b.net.backlog(ANN) > MANY // 2
        await b.resume()
        await b.heard.text("d1", texts[-1])
        assert sorted({str(m.text) for m in b.heard.of("d1", MessageIn)}) == sorted(texts)


async def _recovered(b: Bench) -> list[str]:
    """The texts that the spool of device `d1` tells."""
    since = len(b.heard.incoming)
    await b.engine.recover(b.spec("d1", linked=True))
    return [str(message.text) for message in b.heard.of("d1", MessageIn, since)]


async def test_main_killed_while_a_message_is_being_sent(tmp_path: Path) -> None:
    """WhatsApp took it: the spool says so, with the id it got."""
    async with bench(tmp_path) as b:
        await asyncio.to_thread(b.net.add_account, CYD, "Cyd")
        await (await b.link("a", ANN)).stop()
        b.net.faults.ack_delay_s = 0.7
        spec = b.spec("a", linked=True)
        parent = await _start_parent(b, spec.folder, CYD)
        got = await asyncio.to_thread(b.net.on_phone, CYD, lambda p: p.wait_for("last words"))
        parent.kill()
        await parent.wait()
        since = len(b.heard.incoming)
        await b.engine.recover(spec)
        [ended] = b.heard.of("a", SendEnded, since)
        assert ended.ref == "r1"
        assert ended.sent is not None
        assert ended.sent.wa_id == got.id


async def test_main_killed_ends_its_workers_and_its_fork_server(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await (await b.link("a", ANN)).stop()
        parent = await _start_parent(b, b.spec("a").folder)
        assert parent.stdout is not None
        connected = await _line(parent.stdout, "connected")
        pids = [int(pid) for pid in connected.split()[1:]]
        assert len(pids) == 2
        parent.kill()
        await parent.wait()
        await until(lambda: not any(_alive(pid) for pid in pids))


async def test_a_worker_that_hangs_is_killed_before_its_spool_is_read(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        session = await b.link("a", ANN)
        pid = pid_of(session)
        os.kill(pid, signal.SIGSTOP)
        recovering = asyncio.create_task(b.engine.recover(b.spec("a", linked=True)))
        await asyncio.wait_for(recovering, PATIENCE_S)
        await until(lambda: session.worker_pid != pid)


async def _start_parent(b: Bench, folder: Path, *to: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(PARENT), str(folder), b.net.proxy_url, *to),
        stdout=asyncio.subprocess.PIPE,
    )


async def _line(stream: asyncio.StreamReader, word: str) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while line := (await stream.readline()).decode().strip():
            if word in line:
                return line
    raise EOFError(word)


def _alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
