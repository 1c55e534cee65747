"""Devices that move between gateways: a session goes into a file and runs here no more, or comes out of one.

The same session in two places would be pushed out of both in turn, and lose messages. So the row says durably
that it has gone before a file of it is complete, and the session's own file is set aside under another name:
a database that was restored to an earlier day finds none.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from appliance.gateway.devices import DeviceManager, Engines
from appliance.gateway.states import DeviceStates
from appliance.model.account import Account
from appliance.model.clock import Clock
from appliance.model.device import Device, DeviceStatus
from appliance.model.errors import Conflict, GatewayError, InlineSingleDevice, NotFound
from appliance.model.ids import new_id
from appliance.store import copies, devices
from appliance.store.backup import BackupFailed
from appliance.store.database import Database, Transaction
from appliance.store.last_stop import sync_file, sync_folder

SESSION, ASIDE = "session.db", "session.moved"
MOVED = "moved"


class Identity(msgspec.Struct, frozen=True, rename="camel"):
    """What a device is called, wherever it runs. `proxy` is its own way out, with its password."""

    id: str
    name: str
    phone: str | None
    jid: str | None
    lid: str | None
    push_name: str | None
    created_at: int
    proxy: str | None


class Departure(msgspec.Struct, frozen=True):
    """A device that runs here no more. `session` is its file, complete; `again` when it had gone before."""

    export_id: str
    identity: Identity
    session: Path
    again: bool


class Moves:
    """Lets devices go and takes them in, one at a time. `folder` holds the devices' own folders; `drained`
    returns when everything that sessions told so far is stored."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        states: DeviceStates,
        manager: DeviceManager,
        engines: Engines,
        folder: Path,
        drained: Callable[[], Awaitable[None]],
    ) -> None:
        self._db = db
        self._clock = clock
        self._states = states
        self._manager = manager
        self._engines = engines
        self._folder = folder
        self._drained = drained
        self._one_at_a_time = asyncio.Lock()

    async def hand_over(self, device_id: str) -> Departure:
        """End the session for good, keep what it still told, and settle its file. What waits to be sent
        fails. Done again, it gives the same. When there is no file in the end, the device stays here. Raises
        NotFound, Conflict, OSError."""
        async with self._one_at_a_time:
            device = self._known(device_id)
            if device.sandbox or not device.linked:
                raise Conflict("Only a device that is linked to a WhatsApp account can be moved.")
            again = device.moved_as is not None
            device = device if again else await self._change(device, _gone(new_id()))
            try:
                session = await self._settled(device)
            except BaseException:
                if not again:
                    await self._stay(device)
                raise
            return Departure(device.moved_as or "", self._identity(device), session, again)

    async def take_back(self, device_id: str) -> Device:
        """Let the session run here again, as from the next start; the file must not be used then. Raises
        NotFound, Conflict."""
        async with self._one_at_a_time:
            device = self._known(device_id)
            if device.moved_as is None:
                raise Conflict("The device is here: it was not moved.")
            await asyncio.to_thread(_put_back, self._folder / device.id)
            return await self._change(device, _here_again)

    async def take_in(self, account: Account, identity: Identity, export_id: str, session: Path) -> Device:
        """Take the device in with its `session`, a file on the same disk that is moved away; it runs as from
        the next start. Raises Conflict, InlineSingleDevice, Invalid (proxy)."""
        async with self._one_at_a_time:
            here = self._states.get(identity.id)
            others = [d for d in self._states.all() if not d.sandbox and d.id != identity.id]
            if self._engines.single_real and others:
                raise InlineSingleDevice("Set engine.isolation to process to run several devices.")
            new = self._arrived(account, identity, here)
            await self._db.transaction(lambda tx: _check_arrival(tx, new, here, export_id))
            await asyncio.to_thread(_place, session, self._folder / new.id)

            def work(tx: Transaction) -> list[Callable[[], None]]:
                _check_arrival(tx, new, here, export_id)
                devices.note_import(tx, export_id, new.id, self._clock.now_ms())
                if here is not None:
                    return self._states.save(tx, here, new)
                devices.insert(tx, new)
                return [lambda: self._states.remember(new)]

            for act in await self._db.transaction(work):
                act()
            await asyncio.to_thread((self._folder / new.id / ASIDE).unlink, missing_ok=True)
            return new

    async def _settled(self, device: Device) -> Path:
        """The session's file, when the session has ended and what it told is stored."""
        await self._manager.disconnect(device.account_id, device.id)
        await self._engines.real.recover(self._manager.spec(device))
        await self._drained()
        if not self._known(device.id).linked:
            raise Conflict("The device was unlinked just now: there is nothing left to move.")
        return await asyncio.to_thread(_set_aside, self._folder / device.id)

    async def _stay(self, device: Device) -> None:
        """Nothing of it has left: it goes on here as if nobody had asked."""
        with contextlib.suppress(GatewayError, OSError):
            await asyncio.to_thread(_put_back, self._folder / device.id)
            here = await self._change(device, _here_again)
            if here.linked and self._manager.resumed:
                await self._manager.connect(here.account_id, here.id)

    def _known(self, device_id: str) -> Device:
        device = self._states.get(device_id)
        if device is None:
            raise NotFound("There is no such device.")
        return device

    async def _change(self, device: Device, change: Callable[[Device], Device]) -> Device:
        def work(tx: Transaction) -> tuple[Device, list[Callable[[], None]]]:
            old = tx.one(devices.by_id(device.account_id, device.id))
            if old is None:
                raise NotFound("There is no such device.")
            new = change(old)
            after = self._states.save(tx, old, new)
            return new, after + (self._states.on_unlinked(tx, new) if new.moved_as is not None else [])

        new, after = await self._db.transaction(work)
        for act in after:
            act()
        return new

    def _identity(self, device: Device) -> Identity:
        return Identity(
            id=device.id,
            name=device.name,
            phone=device.phone,
            jid=device.jid,
            lid=device.lid,
            push_name=device.push_name,
            created_at=device.created_at,
            proxy=self._manager.own_proxy(device),
        )

    def _arrived(self, account: Account, identity: Identity, here: Device | None) -> Device:
        return Device(
            id=identity.id,
            account_id=account.id,
            name=here.name if here is not None else identity.name,
            sandbox=False,
            status=DeviceStatus.DISCONNECTED,
            linked=True,
            wanted=True,
            phone=identity.phone,
            jid=identity.jid,
            lid=identity.lid,
            push_name=identity.push_name,
            proxy=self._manager.sealed(identity.proxy),
            created_at=here.created_at if here is not None else identity.created_at,
            connected_at=here.connected_at if here is not None else None,
        )


def _check_arrival(tx: Transaction, new: Device, here: Device | None, export_id: str) -> None:
    """Raises Conflict when the device is here already, or the file was taken in before."""
    if (tx.one(devices.was_imported(export_id)) or 0) > 0:
        raise Conflict("This file was imported here before: what is in it is no longer the newest.")
    if here is not None and here.account_id != new.account_id:
        raise Conflict("The device belongs to another account here.")
    if here is not None and here.moved_as is None:
        raise Conflict("The device is here already, and was not moved.")
    if here is None and (tx.one(devices.is_there(new.id)) or 0) > 0:
        raise Conflict("The device was deleted here and is still being cleared away. Try again in a while.")


def _gone(export_id: str) -> Callable[[Device], Device]:
    def gone(device: Device) -> Device:
        return msgspec.structs.replace(
            device,
            status=DeviceStatus.DISCONNECTED,
            reason=MOVED,
            reason_code=None,
            until=None,
            wanted=False,
            moved_as=device.moved_as or export_id,
        )

    return gone


def _here_again(device: Device) -> Device:
    return msgspec.structs.replace(device, reason=None, wanted=device.linked, moved_as=None)


def _set_aside(folder: Path) -> Path:
    """Settle the session's database into one file under another name; returns it. Raises Conflict."""
    session, aside, draft = folder / SESSION, folder / ASIDE, folder / f"{ASIDE}.new"
    if session.exists():
        draft.unlink(missing_ok=True)
        try:
            copies.of_session(session, draft)
        except BackupFailed as error:
            raise Conflict(str(error)) from None
        draft.chmod(0o600)
        sync_file(draft)
        draft.replace(aside)
        sync_folder(folder)
        # Each of them only belongs to the database as it was, and would spoil another one.
        for name in (SESSION, f"{SESSION}-wal", f"{SESSION}-shm", f"{SESSION}-journal"):
            (folder / name).unlink(missing_ok=True)
        sync_folder(folder)
    if not aside.exists():
        raise Conflict("The device's session is not on this disk.")
    return aside


def _put_back(folder: Path) -> None:
    """Raises Conflict when there is no session to run."""
    if (folder / ASIDE).exists():
        (folder / ASIDE).replace(folder / SESSION)
        sync_folder(folder)
    if not (folder / SESSION).exists():
        raise Conflict("The device's session is not on this disk.")


def _place(session: Path, folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (f"{SESSION}-wal", f"{SESSION}-shm", f"{SESSION}-journal"):
        (folder / name).unlink(missing_ok=True)
    sync_file(session)
    session.replace(folder / SESSION)
    sync_folder(folder)
