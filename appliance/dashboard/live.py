"""The stream that tells an open page that something changed; its parts then ask for their newest selves."""

import asyncio
from collections.abc import AsyncIterator

from litestar import get
from litestar.response import Stream

from appliance.dashboard.pages import PRIVATE
from appliance.dashboard.visitor import Member
from appliance.gateway.events import EventLog
from appliance.gateway.gateway import Gateway

COMMENT_EVERY_S = 15.0
GATHER_S, BUSY_GATHER_S = 0.15, 0.75
"""How long changes are gathered into one hint: the first after a rest, and those that follow on its heels."""


@get("/dashboard/live")
async def follow(gateway: Gateway, member: Member) -> Stream:
    """Hints, never content: `event: changed` after the account's changes, gathered over a moment."""
    headers = {**PRIVATE, "X-Accel-Buffering": "no"}
    changes = _changes(gateway.events, member.account.id)
    return Stream(changes, status_code=200, media_type="text/event-stream", headers=headers)


async def _changes(events: EventLog, account_id: str) -> AsyncIterator[str]:
    # The first hint covers what changed between the page's rendering and this moment.
    waiter, clock = events.waiter(account_id), asyncio.get_running_loop().time
    told_at = clock() - BUSY_GATHER_S
    yield "retry: 3000\nevent: changed\ndata: .\n\n"
    while not events.closed:
        if await events.wait(waiter, COMMENT_EVERY_S):
            await asyncio.sleep(BUSY_GATHER_S if clock() - told_at < BUSY_GATHER_S else GATHER_S)
            waiter, told_at = events.waiter(account_id), clock()
            yield "event: changed\ndata: .\n\n"
        else:
            yield ": nothing new\n\n"


HANDLERS = [follow]
