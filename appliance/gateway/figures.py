"""What the gateway counts while it runs, in one place for whoever exports it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from appliance.gateway import processes
from appliance.gateway.deliveries import DeliveryWorker
from appliance.gateway.drains import Drains
from appliance.gateway.gateway import Gateway
from appliance.gateway.inbound import Inbound
from appliance.gateway.incoming_messages import IncomingMessages
from appliance.gateway.installation import Room
from appliance.gateway.loop_lag import LoopLag
from appliance.gateway.processes import Memory, Usage
from appliance.gateway.receipts import Receipts
from appliance.model.device import Device
from appliance.model.tally import Tally
from appliance.store import figures
from appliance.store.figures import Behind
from appliance.store.group_writer import WriterFigures

Helper = tuple[str, str, int]
"""Kind, device and process number."""


@dataclass(frozen=True, slots=True)
class Counting:
    """The parts that count. `worker_lives` and `helpers` are the engine's: how workers ended, and what runs
    beside this process."""

    drains: Drains
    receipts: Receipts
    incoming: IncomingMessages
    inbound: Inbound
    deliveries: DeliveryWorker
    writer: Callable[[], WriterFigures]
    lag: LoopLag
    worker_lives: Tally
    helpers: Callable[[], list[Helper]]


class Moment(msgspec.Struct, frozen=True):
    """What can only be said of a moment. `waiting` and `oldest_since` (ms) by device; `memory` by kind and
    device of each process."""

    at_ms: int
    devices: list[Device]
    waiting: Mapping[str, int]
    oldest_since: Mapping[str, int]
    deliveries: int
    behind: list[Behind]
    room: Room
    usage: Usage
    memory: Mapping[tuple[str, str], Memory]


async def look(gateway: Gateway, helpers: list[Helper], own_pid: int) -> Moment:
    """Ask the store and the machine; a few indexes are looked into and no table is read."""
    devices, now_ms = gateway.devices.everywhere(), gateway.clock.now_ms()
    waiting = {device.id: gateway.outbox.waiting(device.id) for device in devices}
    queues = await gateway.reader.all(figures.oldest_waiting([d for d, n in waiting.items() if n]))
    return Moment(
        at_ms=now_ms,
        devices=devices,
        waiting=waiting,
        oldest_since={queue.device_id: queue.since for queue in queues},
        deliveries=await gateway.reader.one(figures.deliveries_waiting()) or 0,
        behind=await gateway.reader.all(figures.behind(now_ms)),
        room=await gateway.installation.room(),
        usage=processes.usage(),
        memory=await asyncio.to_thread(_memory, [("main", "", own_pid), *helpers]),
    )


def _memory(helpers: list[Helper]) -> dict[tuple[str, str], Memory]:
    """Of each process once: a worker may be a thread of this one."""
    once = {pid: (kind, device) for kind, device, pid in reversed(helpers)}
    found = {place: processes.memory(pid) for pid, place in once.items()}
    return {place: used for place, used in found.items() if used is not None}
