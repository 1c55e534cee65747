"""Devices: made, linked, connected and let go; the one owner of every WhatsApp session."""

import asyncio
import contextlib
import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from appliance.engine.base import Engine, EngineError, PairCode, QrShown, Session, SessionSpec
from appliance.gateway import refusals
from appliance.gateway.events import EventLog
from appliance.gateway.limits import RateLimits
from appliance.gateway.proxies import check_proxy
from appliance.gateway.states import DeviceStates
from appliance.gateway.vault import Vault
from appliance.model.account import Account
from appliance.model.clock import Clock
from appliance.model.device import ENDED, Device, DeviceStatus
from appliance.model.errors import (
    AlreadyLinked,
    DeviceRequired,
    EngineFailure,
    EngineTimeout,
    FieldError,
    InlineSingleDevice,
    NoQr,
    NotFound,
    UnlinkUnconfirmed,
)
from appliance.model.ids import new_id
from appliance.store import devices, removal
from appliance.store.database import Database, Transaction

log = logging.getLogger(__name__)

STAGGER_S = 0.05
BAN_CHECK_EVERY_S = 30.0
_PROXY = "device-proxy"


class Engines(msgspec.Struct, frozen=True):
    """The two ways to WhatsApp: the real one and the pretended one. `single_real`: there may be one real
    device only."""

    real: Engine
    sandbox: Engine
    single_real: bool = False

    def of(self, device: Device) -> Engine:
        return self.sandbox if device.sandbox else self.real


class DeviceManager:
    """What people and programs do with devices."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        vault: Vault,
        states: DeviceStates,
        events: EventLog,
        limits: RateLimits,
        engines: Engines,
        folder: Path,
        global_proxy: str | None = None,
    ) -> None:
        self._db = db
        self._clock = clock
        self._vault = vault
        self._states = states
        self._events = events
        self._limits = limits
        self._engines = engines
        self._folder = folder
        self._global_proxy = global_proxy
        self._sessions: dict[str, Session] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self.resumed = False
        self.on_deleted: list[Callable[[Device], None]] = []

    async def create(
        self, account: Account, name: str, *, sandbox: bool = False, proxy: str | None = None
    ) -> Device:
        """A new device, not linked. Raises InlineSingleDevice, Invalid (proxy)."""
        if not sandbox and self._engines.single_real and any(not d.sandbox for d in self._states.all()):
            raise InlineSingleDevice("Set engine.isolation to process to run several devices.")
        device = Device(
            id=new_id(),
            account_id=account.id,
            name=name,
            sandbox=sandbox,
            status=DeviceStatus.DISCONNECTED,
            proxy=self.sealed(proxy),
            created_at=self._clock.now_ms(),
        )
        await self._db.transaction(lambda tx: devices.insert(tx, device))
        self._states.remember(device)
        return device

    def known(self, device_id: str) -> Device | None:
        """The device as it is now, whoever owns it."""
        return self._states.get(device_id)

    def get(self, account_id: str, device_id: str) -> Device:
        """The account's device as it is now. Raises NotFound, also for somebody else's."""
        device = self._states.get(device_id)
        if device is None or device.account_id != account_id:
            raise NotFound("There is no such device.")
        return device

    def of_account(self, account_id: str) -> list[Device]:
        return self._states.of_account(account_id)

    def everywhere(self) -> list[Device]:
        """Every device of every account: for figures about the gateway, never for a caller."""
        return self._states.all()

    def resolve(self, account_id: str, device_id: str | None) -> Device:
        """The device named, or the only one there is. Raises NotFound, DeviceRequired (listing the
        choice)."""
        if device_id is not None:
            return self.get(account_id, device_id)
        mine = self._states.of_account(account_id)
        if len(mine) == 1:
            return mine[0]
        choice = [{"id": d.id, "name": d.name, "status": str(d.status)} for d in mine]
        text = "Say which of your devices should send." if mine else "Create a device first: POST /devices."
        field = FieldError("deviceId", text, mine[0].id if mine else None)
        raise DeviceRequired(text, errors=(field,), extra={"devices": choice})

    async def update(
        self, account_id: str, device_id: str, *, name: str | None = None, proxy: str | None = None
    ) -> Device:
        """Rename the device or change its proxy, which takes effect at its next connection. Raises
        NotFound, Invalid."""
        self.get(account_id, device_id)
        changes: dict[str, object] = {"name": name} if name is not None else {}
        if proxy is not None:
            changes["proxy"] = self.sealed(proxy)
        return await self._save(
            account_id, device_id, lambda device: msgspec.structs.replace(device, **changes)
        )

    async def connect(self, account_id: str, device_id: str) -> Device:
        """Start the session: a linked device connects, another shows QR codes. Idempotent."""
        async with self._lock(device_id):
            device = self.get(account_id, device_id)
            running = device.wanted and device_id in self._sessions
            if running and device.status not in ENDED:
                return device
            device = await self._save(account_id, device_id, _wanted)
            await self._begin(device)
            return self.get(account_id, device_id)

    async def disconnect(self, account_id: str, device_id: str) -> Device:
        """End the session and keep the link; it stays off across restarts. Idempotent."""
        async with self._lock(device_id):
            device = await self._save(account_id, device_id, _unwanted)
            await self._end(device_id)
            return device

    async def logout(self, account_id: str, device_id: str) -> Device:
        """Unlink from WhatsApp. Raises UnlinkUnconfirmed when it did not answer: the link may still stand
        on the phone."""
        async with self._lock(device_id):
            device = self.get(account_id, device_id)
            _refuse_moved(device)
            confirmed = await self._unlink(device)
            if not confirmed:
                raise UnlinkUnconfirmed(
                    "WhatsApp did not confirm. Connect the device and try again, or unlink it on the phone."
                )
            return self.get(account_id, device_id)

    async def delete(self, account_id: str, device_id: str) -> bool:
        """Delete the device, its rows, files and session; False when WhatsApp could not be told that it is
        unlinked."""
        async with self._lock(device_id):
            device = self.get(account_id, device_id)
            unlinked = not device.linked or await self._unlink(device)
            await self._end(device_id)
            await self._db.transaction(lambda tx: removal.hide_device(tx, account_id, device_id))
            self._states.forget(device)
            self._limits.forget(device_id)
            for tell in self.on_deleted:
                tell(device)
            with contextlib.suppress(EngineError):
                await self._engines.of(device).forget(self.spec(device))
            await asyncio.to_thread(shutil.rmtree, self._folder / device_id, ignore_errors=True)
        self._locks.pop(device_id, None)
        return unlinked

    async def pair_code(self, account_id: str, device_id: str, phone: str) -> PairCode:
        """A code to type on the phone instead of scanning; connects the device first. Raises
        AlreadyLinked, EngineFailure."""
        if self.get(account_id, device_id).linked:
            raise AlreadyLinked("Unlink the device first: POST /devices/{id}/logout.")
        await self.connect(account_id, device_id)
        session = self._sessions[device_id]
        try:
            return await session.pair_code(phone)
        except EngineError as error:
            kind = EngineTimeout if error.unknown_outcome else EngineFailure
            raise kind(error.text or "WhatsApp gave no code. Try again.") from None

    def qr(self, account_id: str, device_id: str) -> QrShown:
        """The QR code that can be scanned now. Raises NoQr, NotFound."""
        device = self.get(account_id, device_id)
        shown = self._states.qr(device_id)
        if shown is None:
            raise NoQr("Connect the device first." if not device.linked else "The device is already linked.")
        return shown

    def current_qr(self, device_id: str) -> QrShown | None:
        return self._states.qr(device_id)

    def session(self, device_id: str) -> Session | None:
        """The device's running session."""
        return self._sessions.get(device_id)

    def spec(self, device: Device) -> SessionSpec:
        """What the engine needs to run the device."""
        return SessionSpec(
            device_id=device.id,
            folder=self._folder / device.id,
            sandbox=device.sandbox,
            linked=device.linked,
            phone=device.phone,
            push_name=device.push_name,
            jid=device.jid,
            lid=device.lid,
            proxy=self.own_proxy(device) or self._global_proxy,
        )

    def own_proxy(self, device: Device) -> str | None:
        """The device's own proxy URL with its password."""
        return self._vault.open(device.proxy, _PROXY).decode() if device.proxy else None

    def proxy_of(self, device: Device) -> str | None:
        """The device's own proxy URL without its password, for showing it."""
        own = self.own_proxy(device)
        if own is None:
            return None
        scheme, _, rest = own.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    async def recover(self) -> None:
        """Take in what workers of an earlier run left in their spools."""
        for device in self._states.all():
            if not device.sandbox:
                with contextlib.suppress(EngineError):
                    await self._engines.real.recover(self.spec(device))

    async def resume(self) -> None:
        """Start every session that should run, a little apart."""
        for device in self._states.all():
            if (
                device.wanted
                and device.status is not DeviceStatus.OUTDATED
                and not self._still_banned(device)
            ):
                await self._start_again(device)
                await asyncio.sleep(0 if device.sandbox else STAGGER_S * random.uniform(0.5, 1.5))  # noqa: S311
        self.resumed = True

    async def run(self) -> None:
        """Bring devices back when their ban has ended. For ever."""
        while True:
            await asyncio.sleep(BAN_CHECK_EVERY_S)
            for device in self._states.all():
                over = device.until is not None and not self._still_banned(device)
                if device.wanted and device.status is DeviceStatus.BANNED and over:
                    await self._start_again(device)

    async def stop(self) -> None:
        """End every session, keep every link."""
        await asyncio.gather(*(self._end(device_id) for device_id in list(self._sessions)))

    async def _start_again(self, device: Device) -> None:
        try:
            async with self._lock(device.id):
                current = self._states.get(device.id)
                if current is not None and current.wanted:
                    current = await self._save(current.account_id, current.id, _resumed)
                    await self._begin(current)
        except Exception:
            log.exception("resume_failed", extra={"device": device.id})

    async def _begin(self, device: Device) -> None:
        await self._end(device.id)
        await asyncio.to_thread((self._folder / device.id).mkdir, parents=True, exist_ok=True)
        session = self._engines.of(device).session(self.spec(device))
        self._sessions[device.id] = session
        try:
            await session.start()
        except EngineError as error:
            raise EngineFailure(error.text or "The session could not be started.") from None

    async def _end(self, device_id: str) -> None:
        session = self._sessions.pop(device_id, None)
        if session is not None:
            await session.stop()

    async def _unlink(self, device: Device) -> bool:
        """Tell WhatsApp, then end the session; False when WhatsApp did not confirm, and then the link
        stays as it is."""
        session = self._sessions.get(device.id)
        confirmed = device.sandbox or not device.linked
        if session is not None and device.linked:
            try:
                await session.logout()
                confirmed = True
            except EngineError as error:
                log.warning("unlink_unconfirmed", extra={"device": device.id, "code": error.code})
        if confirmed:
            await self._save(device.account_id, device.id, _unlinked, logged_out=True)
            await self._end(device.id)
        return confirmed

    async def _save(
        self, account_id: str, device_id: str, change: Callable[[Device], Device], *, logged_out: bool = False
    ) -> Device:
        """Change the row, tell the new state, and keep the memory in step. Raises NotFound."""

        def work(tx: Transaction) -> tuple[Device, list[Callable[[], None]]]:
            old = tx.one(devices.by_id(account_id, device_id))
            if old is None:
                raise NotFound("There is no such device.")
            new = change(old)
            after = self._states.save(tx, old, new)
            if logged_out:
                after += self._states.on_unlinked(tx, new)
            return new, after

        device, after = await self._db.transaction(work)
        for act in after:
            act()
        return device

    def sealed(self, proxy: str | None) -> bytes | None:
        """A proxy's URL as it is stored. Raises Invalid."""
        return self._vault.seal(check_proxy(proxy).encode(), _PROXY) if proxy else None

    def _still_banned(self, device: Device) -> bool:
        return (
            device.status is DeviceStatus.BANNED
            and device.until is not None
            and device.until > self._clock.now_ms()
        )

    def _lock(self, device_id: str) -> asyncio.Lock:
        return self._locks.setdefault(device_id, asyncio.Lock())


def _wanted(device: Device) -> Device:
    _refuse_moved(device)
    return _told(device, DeviceStatus.CONNECTING, wanted=True)


def _resumed(device: Device) -> Device:
    _refuse_moved(device)
    status = DeviceStatus.RECONNECTING if device.linked else DeviceStatus.CONNECTING
    return _told(device, status, wanted=True)


def _refuse_moved(device: Device) -> None:
    """Raises DeviceMoved: the same session in two places would be pushed out of both in turn."""
    if device.moved_as is not None:
        raise refusals.moved()


def _unwanted(device: Device) -> Device:
    if device.moved_as is not None:
        return device  # off already, and the reason stays
    return _told(device, DeviceStatus.DISCONNECTED, wanted=False)


def _unlinked(device: Device) -> Device:
    changed = _told(device, DeviceStatus.DISCONNECTED, wanted=False)
    return msgspec.structs.replace(changed, linked=False, reason="logged_out")


def _told(device: Device, status: DeviceStatus, *, wanted: bool) -> Device:
    """The device in a state that somebody asked for: what WhatsApp said before no longer holds."""
    return msgspec.structs.replace(
        device, status=status, wanted=wanted, reason=None, reason_code=None, until=None
    )
