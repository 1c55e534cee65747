"""A device: one WhatsApp account linked to this gateway."""

from enum import StrEnum

import msgspec


class DeviceStatus(StrEnum):
    DISCONNECTED = "DISCONNECTED"
    """Told to stop, or never linked: `linked` tells which."""
    CONNECTING = "CONNECTING"
    """The session is being started."""
    QR = "QR"
    """A QR code is shown and waits to be scanned."""
    CONNECTED = "CONNECTED"
    """Messages can be sent and received now."""
    RECONNECTING = "RECONNECTING"
    """The connection was lost; the gateway is getting it back by itself."""
    LOGGED_OUT = "LOGGED_OUT"
    """Unlinked from the phone: it must be linked again."""
    BANNED = "BANNED"
    """WhatsApp has banned the account, until `until` if that is known."""
    OUTDATED = "OUTDATED"
    """WhatsApp refuses this client version: the gateway must be updated."""


ENDED = frozenset({DeviceStatus.LOGGED_OUT, DeviceStatus.BANNED, DeviceStatus.OUTDATED})
"""The states that no restart of the session mends."""


class Device(msgspec.Struct, kw_only=True):
    """A row of `devices`. Times are ms; `phone` is digits; `jid` and `lid` are the linked account's own
    addresses.

    `wanted`: the session should run, also after a restart. `proxy`: sealed, because it may hold a password.
    `moved_as`: the id of the file that took the session to another host; while it is set, the session does
    not run here.
    """

    id: str
    account_id: str
    name: str
    sandbox: bool
    status: DeviceStatus
    reason: str | None = None
    reason_code: int | None = None
    until: int | None = None
    linked: bool = False
    wanted: bool = False
    phone: str | None = None
    jid: str | None = None
    lid: str | None = None
    push_name: str | None = None
    proxy: bytes | None = None
    created_at: int
    connected_at: int | None = None
    moved_as: str | None = None
