"""Device states: the one place where a device's row changes, with the event that tells of it and the copy
in memory."""

from collections.abc import Callable

import msgspec

from appliance.engine.base import Linked, QrShown, StateChanged
from appliance.gateway import telling
from appliance.gateway.events import EventLog
from appliance.model.clock import Clock
from appliance.model.device import ENDED, Device, DeviceStatus
from appliance.store import devices
from appliance.store.database import Reader, Transaction

AfterCommit = Callable[[], None]
Ended = Callable[[Transaction, Device], list[AfterCommit]]


class DeviceStates:
    """Every device as it is now, in memory (the same as committed), with its QR code if it shows one."""

    def __init__(self, events: EventLog, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._devices: dict[str, Device] = {}
        self._qr: dict[str, QrShown] = {}
        self.on_connected: Callable[[str], None] = lambda _device_id: None
        self.on_unlinked: Ended = lambda _tx, _device: []

    async def load(self, reader: Reader) -> None:
        self._devices = {device.id: device for device in await reader.all(devices.everywhere())}

    def get(self, device_id: str) -> Device | None:
        return self._devices.get(device_id)

    def of_account(self, account_id: str) -> list[Device]:
        """The account's devices, oldest first."""
        return [device for device in self._devices.values() if device.account_id == account_id]

    def all(self) -> list[Device]:
        return list(self._devices.values())

    def qr(self, device_id: str) -> QrShown | None:
        """The QR code that can be scanned now, None when there is none or it has expired."""
        shown = self._qr.get(device_id)
        return shown if shown is not None and shown.expires_at > self._clock.now_ms() else None

    def show_qr(self, tx: Transaction, device: Device, shown: QrShown) -> list[AfterCommit]:
        """A QR code appeared. The code itself is a secret of the moment: it is kept in memory only."""
        if not device.wanted:
            return []
        after = self.change(tx, device, StateChanged(DeviceStatus.QR))

        def keep() -> None:
            self._qr[device.id] = shown
            self._events.wake(device.account_id)

        return [*after, keep]

    def change(self, tx: Transaction, device: Device, change: StateChanged) -> list[AfterCommit]:
        """The session says that it is in another state now."""
        if not device.wanted and change.status not in ENDED:
            return []  # the last words of a session that was told to stop
        new = _changed(device, change, self._clock.now_ms())
        after = self.save(tx, device, new) + self._end_of_before(tx, device, new)
        if change.status is DeviceStatus.LOGGED_OUT:
            after += self.on_unlinked(tx, new)
        if change.status is DeviceStatus.CONNECTED:
            after.append(lambda: self.on_connected(device.id))
        return after

    def link(self, tx: Transaction, device: Device, linked: Linked) -> list[AfterCommit]:
        """The phone accepted the device."""
        new = msgspec.structs.replace(
            device,
            linked=True,
            wanted=True,
            jid=linked.jid,
            lid=linked.lid or device.lid,
            phone=linked.phone,
            push_name=linked.push_name or device.push_name,
        )
        if linked.lid and linked.phone:
            devices.learn_pair(tx, device.id, linked.lid, linked.jid)
        return self.save(tx, device, new) + self._end_of_before(tx, device, new)

    def _end_of_before(self, tx: Transaction, old: Device, new: Device) -> list[AfterCommit]:
        """A send that was under way while the device was unlinked may wait again: with the next link it must
        not go out from another account."""
        return self.on_unlinked(tx, new) if new.linked and not old.linked else []

    def save(self, tx: Transaction, old: Device, new: Device) -> list[AfterCommit]:
        """Write the row, tell `device.status` when the state differs, and return what keeps the memory in
        step."""
        if new == old:
            return []
        devices.save(tx, new)
        if (old.status, old.reason, old.until) != (new.status, new.reason, new.until):
            self._events.append(tx, telling.device_status(new, self._clock.now_ms()))
        return [lambda: self.remember(new)]

    def remember(self, device: Device) -> None:
        """Keep the committed row in memory and wake the account's followers."""
        self._devices[device.id] = device
        if device.status is not DeviceStatus.QR:
            self._qr.pop(device.id, None)
        self._events.wake(device.account_id)

    def forget(self, device: Device) -> None:
        self._devices.pop(device.id, None)
        self._qr.pop(device.id, None)
        self._events.wake(device.account_id)


def _changed(device: Device, change: StateChanged, now_ms: int) -> Device:
    connected = change.status is DeviceStatus.CONNECTED
    logged_out = change.status is DeviceStatus.LOGGED_OUT
    gave_up = change.status is DeviceStatus.DISCONNECTED
    return msgspec.structs.replace(
        device,
        status=change.status,
        reason=change.reason,
        reason_code=change.reason_code,
        until=change.until,
        linked=(device.linked or connected) and not logged_out,
        wanted=device.wanted and not logged_out and not gave_up,
        jid=change.jid or device.jid,
        lid=change.lid or device.lid,
        phone=change.phone or device.phone,
        push_name=change.push_name or device.push_name,
        connected_at=now_ms if connected else device.connected_at,
    )
