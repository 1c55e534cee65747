"""The simulator: a WhatsApp without WhatsApp, in process, so that everything can be tried without a phone."""

import asyncio
import shutil
from collections.abc import Sequence

from appliance.engine.base import (
    Applied,
    EngineError,
    EngineEvent,
    EventSink,
    Incoming,
    MessageIn,
    PretendMessage,
    ReceiptIn,
    SessionSpec,
    StateChanged,
)
from appliance.engine.simulator_session import PretendSession, pretend_files
from appliance.engine.simulator_timeline import Ack
from appliance.model.clock import Clock

CODE_LIFETIMES_S = (60.0, 20.0, 20.0, 20.0, 20.0, 20.0)
"""As the real library shows them: the first QR code for a minute, five more for 20 s each."""


class Simulator:
    """Engine and SandboxControl of the sandbox devices. No network; on disk only the files it is given."""

    def __init__(self, clock: Clock, code_lifetimes_s: Sequence[float] = CODE_LIFETIMES_S) -> None:
        self._clock = clock
        self._code_lifetimes_s = code_lifetimes_s
        self._sessions: dict[str, PretendSession] = {}
        self._sink: EventSink

    async def open(self, sink: EventSink) -> None:
        self._sink = sink

    async def recover(self, spec: SessionSpec) -> None:
        """Nothing is left of an earlier run: a pretend session lives and dies with the process."""

    def session(self, spec: SessionSpec) -> PretendSession:
        """The device's session, made anew; the one before must have been stopped."""

        async def tell(event: EngineEvent, ack: Ack) -> None:
            await self._sink(Incoming(spec.device_id, event, ack))

        session = PretendSession(spec, tell, self._clock, self._code_lifetimes_s)
        self._sessions[spec.device_id] = session
        return session

    async def forget(self, spec: SessionSpec) -> None:
        self._sessions.pop(spec.device_id, None)
        await asyncio.to_thread(shutil.rmtree, pretend_files(spec), ignore_errors=True)

    async def close(self) -> None:
        await asyncio.gather(*(session.stop() for session in self._sessions.values()))
        self._sessions.clear()

    async def scan(self, device_id: str, phone: str | None, push_name: str | None) -> None:
        await self._of(device_id, "no_qr").scan(phone, push_name)

    async def set_state(self, device_id: str, state: StateChanged, after_s: float = 0) -> None:
        await self._of(device_id).set_state(state, after_s)

    async def receipt(self, device_id: str, receipt: ReceiptIn) -> None:
        await self._of(device_id).receipt(receipt)

    async def write(
        self, device_id: str, message: PretendMessage, count: int = 1
    ) -> list[tuple[MessageIn, Applied]]:
        return await self._of(device_id).write(message, count)

    def _of(self, device_id: str, otherwise: str = "not_connected") -> PretendSession:
        try:
            return self._sessions[device_id]
        except KeyError:
            raise EngineError(otherwise, "the device has no session") from None
