"""Isolation `inline`: the worker on threads of the main process."""

import asyncio
import sys
from pathlib import Path

from engine_harness import ANN, BEA, Bench, linked_bench
from patience import PATIENCE_S

from appliance.engine.inline import EXIT_CODE

MAIN = Path(__file__).with_name("engine_inline.py")


class Main:
    """The process under test, spoken to by lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, b: Bench, send_s: float) -> "Main":
        command = (sys.executable, str(MAIN), str(b.spec("d1").folder), b.net.proxy_url, str(send_s))
        pipe = asyncio.subprocess.PIPE
        made = cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe))
        await made.says("state CONNECTED")
        return made

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    async def says(self, words: str) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while line := (await self.process.stdout.readline()).decode().strip():
                if words in line:
                    return line
        raise EOFError(words)


async def test_one_process_sends_receives_stops_and_starts(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        main = await Main.start(b, 60)
        for n in range(2):
            main.tell(f"send {BEA} from one process {n}")
            await main.says("sent")
            text = f"from one process {n}"
            await asyncio.to_thread(b.net.on_phone, BEA, lambda p, t=text: p.wait_for(t))
            await asyncio.to_thread(b.net.on_phone, BEA, lambda p: p.send_text(ANN, "and back"))
            await main.says("text and back")
            main.tell("stop")
            await main.says("stopped")
            main.tell("start")
            await main.says("state CONNECTED")
        assert main.process.stdin is not None
        main.process.stdin.close()
        await main.says("closed")
        assert await asyncio.wait_for(main.process.wait(), 10) == 0


async def test_a_call_past_its_deadline_ends_the_process(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        main = await Main.start(b, 1)
        b.net.faults.withhold_acks = True
        main.tell(f"send {BEA} nobody answers")
        assert await asyncio.wait_for(main.process.wait(), 10) == EXIT_CODE
