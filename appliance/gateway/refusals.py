"""Why a device cannot send, or a message was not sent, as errors for the caller."""

from collections.abc import Mapping

import msgspec

from appliance.model import errors
from appliance.model.device import Device, DeviceStatus
from appliance.model.errors import GatewayError, NextStep
from appliance.model.message import Message

_BY_CODE: Mapping[str, type[GatewayError]] = {
    kind.code: kind
    for kind in (
        errors.NotOnWhatsApp,
        errors.ReachoutRestricted,
        errors.NotInGroup,
        errors.UnsupportedMediaType,
        errors.MediaTooLarge,
        errors.MediaError,
        errors.StorageFull,
        errors.DeviceLoggedOut,
        errors.DeviceMoved,
        errors.EngineTimeout,
    )
}
EXPIRED = "expired"


def of_device(device: Device) -> GatewayError | None:
    """Why this device takes no messages now; None when it does (also while it reconnects)."""
    match device.status:
        case DeviceStatus.LOGGED_OUT:
            return errors.DeviceLoggedOut(
                "Link the device again.", next_step=_connect(device, "shows a new QR code")
            )
        case DeviceStatus.BANNED:
            extra = {"until": device.until} if device.until else {}
            return errors.DeviceBanned("WhatsApp has banned this account for now.", extra=extra)
        case DeviceStatus.OUTDATED:
            return errors.DeviceOutdated("WhatsApp refuses this client version: update the gateway.")
        case _ if not device.linked:
            return errors.DeviceNotLinked(
                "Connect the device and scan its QR code first.", next_step=_connect(device, "starts linking")
            )
        case _ if device.moved_as is not None:
            return moved()
        case DeviceStatus.DISCONNECTED:
            return errors.DeviceDisconnected(
                "The device was told to stop.", next_step=_connect(device, "connects it again")
            )
        case _:
            return None


def moved() -> GatewayError:
    """Why a device does not run here whose session went to another host."""
    return errors.DeviceMoved(
        "Its session went into a file for another gateway. If the file was never imported: "
        "wa-gateway export --take-back DEVICE."
    )


def of_message(message: Message) -> GatewayError | None:
    """Why the message was refused while being sent; None when it was not, or only waited for too long."""
    if message.error_code is None or message.error_code == EXPIRED:
        return None
    kind = _BY_CODE.get(message.error_code, errors.EngineFailure)
    details = msgspec.json.decode(message.details)
    extra = {"until": details["until"]} if "until" in details else {}
    return kind(message.error_message or "", extra=extra)


def is_callers(code: str) -> bool:
    """Whether a failure is the caller's (4xx), so that its token goes back."""
    kind = _BY_CODE.get(code)
    return kind is not None and not issubclass(kind, (errors.EngineFailure, errors.StorageFull))


def _connect(device: Device, why: str) -> NextStep:
    return NextStep("POST", f"/api/devices/{device.id}/connect", why)
