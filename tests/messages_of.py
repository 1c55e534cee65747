"""Accounts, devices, messages and events of them, as rows: for tests of the store."""

from appliance.model.account import Account
from appliance.model.device import Device, DeviceStatus
from appliance.model.event import Event, EventType
from appliance.model.ids import new_id
from appliance.model.message import Message, MessageStatus
from appliance.store import accounts, devices, events
from appliance.store.database import Transaction


def account(email: str = "a@example.test") -> Account:
    """An account that nobody can log in to."""
    return Account(
        id=new_id(),
        email=email,
        name="A",
        role="user",
        password_hash="x",
        key_hash=email.encode(),
        key_sealed=b"s",
        key_rotated_at=0,
        created_at=0,
    )


def newcomer(tx: Transaction, email: str = "a@example.test") -> Account:
    """A new account."""
    made = account(email)
    accounts.insert(tx, made)
    return made


def device_of(account_id: str) -> Device:
    """A device of that account, as yet nowhere."""
    return Device(
        id=new_id(),
        account_id=account_id,
        name="d",
        sandbox=True,
        status=DeviceStatus.CONNECTED,
        created_at=0,
    )


def phone(tx: Transaction, account_id: str) -> Device:
    """A new device of the account."""
    device = device_of(account_id)
    devices.insert(tx, device)
    return device


def owner(tx: Transaction, email: str = "a@example.test") -> Device:
    """A device of a new account."""
    return phone(tx, newcomer(tx, email).id)


def told(account_id: str, device_id: str, no: int, at: int, body: bytes) -> Event:
    """An event as the log has it."""
    return Event(
        no=no,
        account_id=account_id,
        device_id=device_id,
        type=EventType.MESSAGE_RECEIVED,
        body=body,
        crc=events.crc(body),
        created_at=at,
    )


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
