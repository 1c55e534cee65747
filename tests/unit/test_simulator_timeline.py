"""A pretend session's future is bounded, in order, and survives an event that cannot be told."""

import asyncio

from patience import PATIENCE_S

from appliance.engine.base import Applied, ChatNamed, EngineEvent
from appliance.engine.simulator_timeline import LIMIT, Ack, Timeline


class Taker:
    """Takes what is told."""

    def __init__(self) -> None:
        self.told: list[EngineEvent] = []

    async def take(self, event: EngineEvent, ack: Ack) -> None:
        self.told.append(event)
        ack(Applied(None, len(self.told)))


def event(name: str) -> ChatNamed:
    return ChatNamed("120363999000000001@g.us", name)


async def test_only_so_much_waits() -> None:
    timeline = Timeline(Taker().take)
    for _ in range(LIMIT - 1):
        timeline.later(60, lambda: None)
    async with asyncio.timeout(PATIENCE_S):
        await timeline.room()
    timeline.later(60, lambda: None)
    waiting = asyncio.create_task(timeline.room())
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    await timeline.end()
    await asyncio.wait_for(waiting, PATIENCE_S)


async def test_one_thing_after_the_other_and_a_broken_one_is_skipped() -> None:
    taker = Taker()
    timeline = Timeline(taker.take)
    timeline.begin()
    timeline.set_online(True)
    timeline.later(0.02, lambda: event("late"))
    timeline.later(0, lambda: event("first"))
    timeline.later(0, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    assert await timeline.now(lambda: None) == Applied()
    assert await timeline.now(lambda: event("second")) == Applied(None, 2)
    async with asyncio.timeout(PATIENCE_S):
        while len(taker.told) < 3:
            await timeline.now(lambda: None)
    assert taker.told == [event("first"), event("second"), event("late")]
    await timeline.end()


async def test_who_waits_for_something_dropped_is_told_so() -> None:
    timeline = Timeline(Taker().take)
    timeline.begin()
    waiting = asyncio.create_task(timeline.now(lambda: event("offline")))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    await timeline.end()
    assert await asyncio.wait_for(waiting, PATIENCE_S) == Applied()
