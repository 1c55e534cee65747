"""What a message says: text, answer, mentions, media and the details of each kind, from its protobuf."""

import base64
from typing import Any

from appliance.engine.base import IncomingMedia, ReplyTo
from appliance.engine.worker.protos import E2E
from appliance.engine.worker.unwrap import Opened, opened
from appliance.model.jid import parse_jid

_MEDIA = {
    "imageMessage": "imageMessage",
    "videoMessage": "videoMessage",
    "ptvMessage": "videoMessage",
    "audioMessage": "audioMessage",
    "documentMessage": "documentMessage",
    "stickerMessage": "stickerMessage",
}
"""Types with a file, and the type under which the library downloads them."""
_NOT_NEEDED_TO_DOWNLOAD = ("contextInfo", "JPEGThumbnail", "pngThumbnail", "waveform", "caption")

_REVOKE = E2E.ProtocolMessage.REVOKE
_EDIT = E2E.ProtocolMessage.MESSAGE_EDIT


def text_of(found: Opened) -> str | None:
    """The body, caption, answer or name, whatever the kind; None when there is none."""
    part = found.part
    match found.type:
        case "conversation":
            text = part
        case "extendedTextMessage" | "reactionMessage":
            text = part.text
        case "contactMessage" | "contactsArrayMessage":
            text = part.displayName
        case "buttonsResponseMessage" | "templateButtonReplyMessage":
            text = part.selectedDisplayText
        case "interactiveResponseMessage":
            text = part.body.text
        case "listResponseMessage":
            text = part.title
        case "locationMessage":
            text = part.comment or part.name
        case "groupInviteMessage":
            text = part.caption or part.groupName
        case "protocolMessage":
            edited = opened(part.editedMessage)
            text = text_of(edited) if edited else None
        case _:
            text = getattr(part, "caption", "") or getattr(part, "name", "")
    return text if isinstance(text, str) and text else None


def context_of(found: Opened) -> Any | None:
    """The ContextInfo (reply, mentions, forwarding), if the message has one."""
    part = found.part
    if found.type == "protocolMessage" and (edited := opened(part.editedMessage)):
        return context_of(edited)
    fields = getattr(part, "DESCRIPTOR", None)
    if fields is None or "contextInfo" not in fields.fields_by_name or not part.HasField("contextInfo"):
        return None
    return part.contextInfo


def reply_to(context: Any | None) -> ReplyTo | None:
    if context is None or not context.stanzaID:
        return None
    quoted = opened(context.quotedMessage) if context.HasField("quotedMessage") else None
    return ReplyTo(
        context.stanzaID,
        _without_device(context.participant),
        quoted.kind if quoted else None,
        text_of(quoted) if quoted else None,
    )


def mentions(context: Any | None) -> list[str]:
    if context is None:
        return []
    return [jid for each in context.mentionedJID if (jid := _without_device(each))]


def media_of(found: Opened) -> IncomingMedia | None:
    """The file that came with the message, with all that the library needs to fetch it later."""
    if found.type not in _MEDIA:
        return None
    part = found.part
    wanted = type(part)()
    wanted.CopyFrom(part)
    for name in _NOT_NEEDED_TO_DOWNLOAD:
        if name in wanted.DESCRIPTOR.fields_by_name:
            wanted.ClearField(name)
    source = E2E.Message(**{_MEDIA[found.type]: wanted}).SerializeToString()
    return IncomingMedia(
        kind=found.kind,
        mimetype=part.mimetype or "application/octet-stream",
        size=part.fileLength or None,
        filename=(getattr(part, "fileName", "") or getattr(part, "title", "")) or None,
        seconds=getattr(part, "seconds", 0) or None,
        source=source,
    )


def protocol_kind(found: Opened) -> str | None:
    """`delete` or `edit`; None for every other protocol message (keys, settings, history): never told."""
    if not found.part.HasField("key") or not found.part.key.ID:
        return None
    if found.part.type == _REVOKE:
        return "delete"
    return "edit" if found.part.type == _EDIT and found.part.HasField("editedMessage") else None


def details_of(found: Opened) -> dict[str, Any]:  # noqa: C901 (a flat list of kinds)
    """The ready members for the webhook that belong to the kind."""
    part = found.part
    details = dict(found.flags)
    context = context_of(found)
    if context is not None and context.isForwarded:
        details["forwarded"] = True
    match found.type:
        case "reactionMessage":
            details["reaction"] = {"messageId": part.key.ID, "emoji": part.text}
        case "protocolMessage":
            details["edits"] = part.key.ID
        case "locationMessage":
            details["location"] = _location(part) | _named(name=part.name, address=part.address, url=part.URL)
        case "liveLocationMessage":
            details["location"] = _location(part) | {"live": True}
        case "contactMessage":
            details["contacts"] = [{"name": part.displayName, "vcard": part.vcard}]
        case "contactsArrayMessage":
            details["contacts"] = [{"name": each.displayName, "vcard": each.vcard} for each in part.contacts]
        case "pollUpdateMessage":
            details["vote"] = {"messageId": part.pollCreationMessageKey.ID}
        case "listResponseMessage":
            details["selected"] = part.singleSelectReply.selectedRowID
        case "buttonsResponseMessage":
            details["selected"] = part.selectedButtonID
        case "templateButtonReplyMessage":
            details["selected"] = part.selectedID
        case _ if found.kind == "poll":
            options = [option.optionName for option in part.options]
            details["poll"] = {"name": part.name, "options": options, "choices": part.selectableOptionsCount}
    return details


def hash_text(option: bytes) -> str:
    """A poll option's SHA-256 as it is told when the poll itself was never seen."""
    return base64.b64encode(option).decode()


def _location(part: Any) -> dict[str, Any]:
    return {"latitude": part.degreesLatitude, "longitude": part.degreesLongitude}


def _named(**members: str) -> dict[str, str]:
    return {name: value for name, value in members.items() if value}


def _without_device(address: str) -> str | None:
    try:
        return str(parse_jid(address))
    except ValueError:
        return None
