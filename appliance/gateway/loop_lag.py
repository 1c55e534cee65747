"""How late the event loop is: once a second a task says when it wants to be woken, and looks when it was."""

import asyncio

from appliance.model.tally import Spread

EVERY_S = 1.0
BOUNDS_S = (0.005, 0.025, 0.1, 0.25, 1, 5)


class LoopLag:
    """Samples the loop it runs on. What holds the loop up holds up every request, stream and delivery."""

    def __init__(self) -> None:
        self.late_s = Spread(BOUNDS_S)

    async def run(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        while True:
            due_at = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self.late_s.note(max(0.0, loop.time() - due_at))
