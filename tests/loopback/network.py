"""The heart of the server: who is connected, and how a stanza reaches a device or waits for it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from loopback.directory import Directory
from loopback.faults import Faults
from loopback.ledger import Counters, Ledger
from loopback.media import BlobStore
from loopback.model import PHONE, Account, Device, pending_key
from loopback.nodes import SERVER, Node, elem
from loopback.pki import Pki

if TYPE_CHECKING:
    from loopback.conn import Connection
    from loopback.phone import Phone

_QUEUED_TAGS = ("message", "notification", "receipt")
_TAPE_LENGTH = 2_000


class Network:
    """Everything the stanza handlers need; lives on the server's event loop."""

    def __init__(self, pki: Pki, media_host: str) -> None:
        self.pki = pki
        self.media_host = media_host
        self.media = BlobStore()
        self.directory = Directory()
        self.phones: dict[str, Phone] = {}
        self.waiting: set[Connection] = set()  # connections that show a QR code
        self.faults = Faults()
        self.ledger = Ledger()
        self.counters = Counters()
        self.tape: deque[tuple[str, str, Node]] = deque(maxlen=_TAPE_LENGTH)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ids = itertools.count(time.time_ns())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine beside the stanza being handled."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def cancel_spawned(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def next_id(self) -> str:
        return f"n{next(self._ids)}"

    async def deliver(self, device: Device, node: Node) -> None:
        """Send now if online, and keep it until the client acknowledges it."""
        if device.id == PHONE:
            self.phones[device.account.number].receive(node)
            return
        device.pending[pending_key(node.tag, node.attrs, "from")] = node
        if device.wire is not None:
            await device.wire.send(node)

    async def notify(self, device: Device, kind: str, body: list[Node], **attrs: object) -> None:
        head = {"type": kind, "from": SERVER, "id": self.next_id(), "t": int(time.time())}
        await self.deliver(device, elem("notification", {**head, **attrs}, body))

    async def came_online(self, device: Device) -> None:
        """After the client's `active`: first the backlog, then what its phone tells a new companion."""
        await self._flush_backlog(device)
        if not device.greeted:
            device.greeted = True
            await self.phones[device.account.number].greet(device)

    async def _flush_backlog(self, device: Device) -> None:
        queued, wire = list(device.pending.values()), device.wire
        if wire is None:
            return
        if queued:
            count = {tag: sum(n.tag == tag for n in queued) for tag in _QUEUED_TAGS}
            preview = elem("offline_preview", {"count": len(queued), "appdata": 0, **count})
            await wire.send(elem("ib", {"from": SERVER}, [preview]))
        for node in queued:
            await wire.send(Node(node.tag, {**node.attrs, "offline": "0"}, node.content))
        await wire.send(elem("ib", {"from": SERVER}, [elem("offline", {"count": len(queued)})]))

    async def announce_devices(self, account: Account) -> None:
        """Tell everybody that a device list changed: `<update>` makes whatsmeow drop its cached list.

        Its cache is keyed by the JID it asked with, so both forms are told.
        """
        for other in list(self.directory.devices()):
            if other.wire is None:
                continue
            for jid in (account.lid, account.pn):
                update = elem("update", {"hash": "0", "device_hash": "0"}, [elem("device", {"jid": jid})])
                head = {"type": "devices", "from": jid, "id": self.next_id(), "t": int(time.time())}
                await other.wire.send(elem("notification", head, [update]))

    def forget(self, conn: Connection) -> None:
        """A connection has ended."""
        self.waiting.discard(conn)
        if conn.device is not None and conn.device.wire is conn:
            conn.device.wire, conn.device.available = None, False
