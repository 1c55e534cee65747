"""A main process with isolation `inline`, to be made to hang: one device, lines both ways.

Commands on stdin: `send <number> <text>`, `stop`, `start`. Prints states, texts and outcomes.
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from appliance.engine.base import (
    Applied,
    EngineError,
    Incoming,
    MessageIn,
    OutgoingMessage,
    SessionSpec,
    StateChanged,
)
from appliance.engine.environment import ensure_environment
from appliance.engine.inline import InlineLauncher
from appliance.engine.session import Deadlines
from appliance.engine.supervisor import RealEngine


async def main(folder: Path, proxy: str, send_s: float) -> None:
    """Until stdin ends."""
    deadlines = msgspec.structs.replace(Deadlines(), send_s=send_s)
    engine = RealEngine(InlineLauncher(), proxy=proxy, deadlines=deadlines, single_device=True)

    async def put(incoming: Incoming) -> None:
        incoming.ack(Applied())
        match incoming.event:
            case MessageIn(text=str(text)):
                print("text", text, flush=True)
            case StateChanged(status):
                print("state", status, flush=True)

    await engine.open(put)
    spec = SessionSpec("a", folder, sandbox=False, linked=True)
    session = engine.session(spec)
    await session.start()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while words := (await lines.readline()).decode().split(maxsplit=2):
        try:
            match words:
                case ["send", number, text]:
                    sent = await session.send(
                        OutgoingMessage(f"{number}@s.whatsapp.net", "text", text.strip())
                    )
                    print("sent", sent.wa_id, flush=True)
                case ["stop"]:
                    await session.stop()
                    print("stopped", flush=True)
                case ["start"]:
                    session = engine.session(spec)
                    await session.start()
        except EngineError as error:
            print("error", error.code, flush=True)
    await engine.close()
    print("closed", flush=True)


if __name__ == "__main__":
    ensure_environment()
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
