"""Every refusal the appliance can give, as one tree; the class is the meaning, `code` is its stable name.

GatewayError
├─ Invalid                  validation_failed: the caller's input, names the field
│  ├─ InvalidRecipient      invalid_recipient
│  ├─ SandboxNumber         sandbox_number
│  ├─ DeviceRequired        device_required
│  ├─ CursorMismatch        cursor_mismatch
│  ├─ IdempotencyKeyReused  idempotency_key_reused
│  └─ WebhookUrlForbidden   webhook_url_forbidden
├─ Unauthorized             missing_api_key | invalid_api_key
├─ NotFound                 not_found (also: somebody else's)
├─ Conflict                 what the thing's present state does not allow
│  ├─ DeviceNotLinked · DeviceLoggedOut · DeviceDisconnected · DeviceMoved
│  ├─ DeviceBanned · DeviceOutdated
│  ├─ AlreadyLinked · NoQr · SandboxOnly · InlineSingleDevice · ReachoutRestricted
├─ Forbidden                not_in_group
├─ EventsGone               events_gone
├─ MediaError               media_unreachable | media_url_forbidden | unsupported_media_type |
media_too_large | media_unavailable
├─ NotOnWhatsApp            not_on_whatsapp
├─ RateLimited              rate_limited
├─ QueueFull · StorageFull · NotReady
└─ EngineFailure            unlink_unconfirmed | engine_timeout | engine_error
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing wrong with one field of the request; `suggestion` is something that would be right."""

    field: str
    message: str
    suggestion: str | None = None


class NextStep(msgspec.Struct, frozen=True):
    """The request that gets the caller out of this refusal."""

    method: str
    path: str
    why: str


class GatewayError(Exception):
    """A refusal with a stable code. `extra` are further members of the problem document (JSON values)."""

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong here"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        next_step: NextStep | None = None,
        retry_after_s: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = tuple(errors)
        self.next_step = next_step
        self.retry_after_s = retry_after_s
        self.extra = dict(extra or {})


class Invalid(GatewayError):
    """The request can be read, but a field says something that cannot be done."""

    code = "validation_failed"
    title = "The request has a field that is not right"
    default_field: ClassVar[str] = ""

    def __init__(
        self, detail: str = "", *, field: str = "", suggestion: str | None = None, **more: Any
    ) -> None:
        name = field or self.default_field
        if name and "errors" not in more:
            more["errors"] = (FieldError(name, detail or self.title, suggestion),)
        super().__init__(detail, **more)


class InvalidRecipient(Invalid):
    code = "invalid_recipient"
    title = "The recipient is not an address WhatsApp knows"
    default_field = "to"


class SandboxNumber(Invalid):
    code = "sandbox_number"
    title = "A sandbox number only works on a sandbox device"
    default_field = "to"


class DeviceRequired(Invalid):
    code = "device_required"
    title = "Say which device should send"
    default_field = "deviceId"


class CursorMismatch(Invalid):
    code = "cursor_mismatch"
    title = "The cursor belongs to another list"
    default_field = "cursor"


class IdempotencyKeyReused(Invalid):
    code = "idempotency_key_reused"
    title = "The Idempotency-Key was used for another request"
    default_field = "Idempotency-Key"


class WebhookUrlForbidden(Invalid):
    code = "webhook_url_forbidden"
    title = "Webhooks may not go to that address"
    default_field = "url"


class Unauthorized(GatewayError):
    code = "invalid_api_key"
    title = "The API key is not valid"


class MissingApiKey(Unauthorized):
    code = "missing_api_key"
    title = "An API key is needed"


class NotFound(GatewayError):
    code = "not_found"
    title = "There is no such thing here"


class Conflict(GatewayError):
    code = "conflict"
    title = "The present state does not allow this"


class DeviceNotLinked(Conflict):
    code = "device_not_linked"
    title = "The device is not linked to a WhatsApp account"


class DeviceLoggedOut(Conflict):
    code = "device_logged_out"
    title = "The device was unlinked from the phone"


class DeviceDisconnected(Conflict):
    code = "device_disconnected"
    title = "The device was told to stop"


class DeviceMoved(Conflict):
    code = "device_moved"
    title = "The device was moved to another gateway"


class DeviceBanned(Conflict):
    code = "device_banned"
    title = "WhatsApp has banned the account for now"


class DeviceOutdated(Conflict):
    code = "device_outdated"
    title = "WhatsApp refuses this client version"


class AlreadyLinked(Conflict):
    code = "already_linked"
    title = "The device is already linked"


class NoQr(Conflict):
    code = "no_qr"
    title = "The device shows no QR code now"


class SandboxOnly(Conflict):
    code = "sandbox_only"
    title = "This works on sandbox devices only"


class InlineSingleDevice(Conflict):
    code = "inline_single_device"
    title = "With engine.isolation = inline there can be one real device"


class ReachoutRestricted(Conflict):
    code = "reachout_restricted"
    title = "WhatsApp does not let this account write to new contacts for now"


class NotInGroup(GatewayError):
    code = "not_in_group"
    title = "The account is not a member of that group"


class EventsGone(GatewayError):
    code = "events_gone"
    title = "The events after that point are no longer kept"


class MediaError(GatewayError):
    code = "media_unavailable"
    title = "The file cannot be had"


class MediaUnreachable(MediaError):
    code = "media_unreachable"
    title = "The file could not be fetched from its URL"


class MediaUrlForbidden(MediaError):
    code = "media_url_forbidden"
    title = "Files are fetched from public addresses only"


class UnsupportedMediaType(MediaError):
    code = "unsupported_media_type"
    title = "That type of file does not fit"


class MediaTooLarge(MediaError):
    code = "media_too_large"
    title = "The file is too large"


class NotOnWhatsApp(GatewayError):
    code = "not_on_whatsapp"
    title = "The number is not on WhatsApp"


class RateLimited(GatewayError):
    code = "rate_limited"
    title = "Too many messages from this device"
    retryable = True


class QueueFull(GatewayError):
    code = "queue_full"
    title = "Too many messages are waiting"
    retryable = True


class StorageFull(GatewayError):
    code = "storage_full"
    title = "The disk is full"
    retryable = True


class NotReady(GatewayError):
    code = "not_ready"
    title = "The gateway is starting or stopping"
    retryable = True


class EngineFailure(GatewayError):
    """WhatsApp, or the library that speaks to it, did not do what was asked."""

    code = "engine_error"
    title = "WhatsApp did not do what was asked"
    retryable = True


class EngineTimeout(EngineFailure):
    code = "engine_timeout"
    title = "WhatsApp did not answer in time"


class UnlinkUnconfirmed(EngineFailure):
    code = "unlink_unconfirmed"
    title = "WhatsApp did not confirm the unlinking"
