"""Opening what WhatsApp wraps messages in, and finding what a message is."""

from typing import Any

import msgspec

_WRAPPERS = (
    "deviceSentMessage",
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
    "editedMessage",
    "lottieStickerMessage",
    "botInvokeMessage",
    "groupMentionedMessage",
    "associatedChildMessage",
    "botForwardedMessage",
    "questionMessage",
    "questionReplyMessage",
    "groupStatusMessage",
    "groupStatusMessageV2",
    "spoilerMessage",
    "newsletterScheduledMessage",
)
_FLAGS = {
    "ephemeralMessage": "ephemeral",
    "viewOnceMessage": "viewOnce",
    "viewOnceMessageV2": "viewOnce",
    "viewOnceMessageV2Extension": "viewOnce",
}
_NEVER_A_TYPE = frozenset({"senderKeyDistributionMessage", "messageContextInfo"})
_DEEPEST = 8

KINDS = {
    "conversation": "text",
    "extendedTextMessage": "text",
    "imageMessage": "image",
    "videoMessage": "video",
    "ptvMessage": "video",
    "audioMessage": "audio",
    "documentMessage": "document",
    "stickerMessage": "sticker",
    "locationMessage": "location",
    "liveLocationMessage": "location",
    "contactMessage": "contact",
    "contactsArrayMessage": "contact",
    "reactionMessage": "reaction",
    "pollCreationMessage": "poll",
    "pollCreationMessageV2": "poll",
    "pollCreationMessageV3": "poll",
    "pollCreationMessageV5": "poll",
    "pollCreationMessageV6": "poll",
    "pollUpdateMessage": "poll_vote",
    "buttonsResponseMessage": "button_reply",
    "templateButtonReplyMessage": "button_reply",
    "interactiveResponseMessage": "button_reply",
    "listResponseMessage": "list_reply",
    "groupInviteMessage": "group_invite",
    "eventMessage": "event",
    "orderMessage": "order",
    "productMessage": "product",
    "callLogMesssage": "call",
    "albumMessage": "album",
}
"""Our word for each of WhatsApp's message types; what is not here is `unknown`."""


class Opened(msgspec.Struct):
    """The innermost message, its type (a field name of waE2E.Message) and that field, and what was around."""

    message: Any
    type: str
    part: Any
    flags: dict[str, Any]

    @property
    def kind(self) -> str:
        if self.type == "audioMessage" and self.part.PTT:
            return "voice"
        return KINDS.get(self.type, "unknown")


def opened(message: Any) -> Opened | None:
    """What the message really is; None when it carries nothing but keys."""
    flags: dict[str, Any] = {}
    for _ in range(_DEEPEST):
        wrapper = next((name for name in _WRAPPERS if message.HasField(name)), None)
        if wrapper is None or not getattr(message, wrapper).HasField("message"):
            break
        message = getattr(message, wrapper).message
        if wrapper in _FLAGS:
            flags[_FLAGS[wrapper]] = True
    type_ = _type_of(message)
    if type_ is None:
        return None
    part = getattr(message, type_)
    if getattr(part, "viewOnce", False) is True:
        flags["viewOnce"] = True
    return Opened(message, type_, part, flags)


def _type_of(message: Any) -> str | None:
    """`conversation` or the first field named …Message…, else the first field there is."""
    names = [field.name for field, _ in message.ListFields() if field.name not in _NEVER_A_TYPE]
    return next(
        (name for name in names if name == "conversation" or "Message" in name), next(iter(names), None)
    )
