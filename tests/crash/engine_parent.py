"""A main process to be killed: runs one linked device, prints what comes, and acknowledges nothing."""

import asyncio
import sys
from pathlib import Path

from appliance.engine.base import Incoming, MessageIn, OutgoingMessage, SessionSpec, StateChanged
from appliance.engine.launcher import ForkServerLauncher
from appliance.engine.supervisor import RealEngine
from appliance.model.device import DeviceStatus


async def main(folder: Path, proxy: str, to: str | None = None) -> None:
    """Until somebody kills us; once connected, one message goes to the number `to`."""
    connected = asyncio.Event()
    launcher = ForkServerLauncher()
    engine = RealEngine(launcher, proxy=proxy)

    async def put(incoming: Incoming) -> None:
        match incoming.event:
            case MessageIn(text=str(text)):
                print(incoming.incarnation, incoming.seq, text, flush=True)
            case StateChanged(DeviceStatus.CONNECTED):
                connected.set()
                print("connected", session.worker_pid, launcher.pid, flush=True)

    await engine.open(put)
    session = engine.session(SessionSpec("a", folder, sandbox=False, linked=True))
    await session.start()
    if to is not None:
        await connected.wait()
        await session.send(OutgoingMessage(f"{to}@s.whatsapp.net", "text", "last words", ref="r1"))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
