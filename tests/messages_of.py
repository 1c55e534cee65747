"""An account, a device and messages of it, as rows: for tests of the store."""

from appliance.model.account import Account
from appliance.model.device import Device, DeviceStatus
from appliance.model.ids import new_id
from appliance.model.message import Message, MessageStatus
from appliance.store import accounts, devices
from appliance.store.database import Transaction


def owner(tx: Transaction) -> Device:
    """A device of a new account."""
    account = Account(
        id=new_id(),
        email="a@example.test",
        name="A",
        role="user",
        password_hash="x",
        key_hash=b"k",
        key_sealed=b"s",
        key_rotated_at=0,
        created_at=0,
    )
    device = Device(
        id=new_id(),
        account_id=account.id,
        name="d",
        sandbox=True,
        status=DeviceStatus.CONNECTED,
        created_at=0,
    )
    accounts.insert(tx, account)
    devices.insert(tx, device)
    return device


def message(device: Device, at: int, status: MessageStatus | None) -> Message:
    """A message of the device; one with a status was sent."""
    return Message(
        id=new_id(),
        account_id=device.account_id,
        device_id=device.id,
        chat="1@s.whatsapp.net",
        from_me=status is not None,
        kind="text",
        type="conversation",
        text="x",
        status=status,
        created_at=at,
    )
