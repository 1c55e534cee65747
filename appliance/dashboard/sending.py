"""The send box: from what a person typed and chose to a message that is on disk."""

import asyncio
import hashlib

from appliance.dashboard.pages import Pages
from appliance.dashboard.uploads import GivenFile, Upload
from appliance.dashboard.visitor import Member
from appliance.gateway.drafts import Draft
from appliance.gateway.gateway import Gateway
from appliance.gateway.media import Staged
from appliance.gateway.media_facts import examine
from appliance.gateway.media_types import FITS
from appliance.gateway.outbox import Idempotency
from appliance.model.errors import Invalid
from appliance.model.ids import is_id
from appliance.model.message import MediaKind, Message

LONGEST_TEXT = 65_536
_SHOWN_AS: tuple[MediaKind, ...] = ("image", "video", "audio")


async def send(
    gateway: Gateway, pages: Pages, member: Member, device_id: str | None, to: str, upload: Upload
) -> Message:
    """Accept what was written for the recipient `to`, as a person typed it, from the device (None: the only
    one). Raises what refuses it; then no file is left."""
    staged: Staged | None = None
    is_needed = False
    try:
        device = gateway.devices.resolve(member.account.id, device_id)
        recipient = gateway.outbox.recipient(to)
        text = _text(pages, member, upload)
        if upload.file is not None:
            kind = await _kind(upload.file, as_document=bool(upload.typed["as_file"]))
            staged = await _staged(gateway, upload.file, kind)
        draft = Draft(
            to=recipient,
            kind=kind if upload.file is not None else "text",
            text=text or None,
            media=staged.media if staged is not None else None,
            reply_to=upload.typed["reply"] or None,
        )
        accepted = await gateway.outbox.accept(member.account, device, draft, _once(upload, draft, staged))
        is_needed = not accepted.replayed
        return accepted.message
    except asyncio.CancelledError:
        is_needed = True  # perhaps: a change that was begun is committed all the same
        raise
    finally:
        if upload.file is not None and not is_needed:
            gateway.media.discard(staged or upload.file.loose)


def _text(pages: Pages, member: Member, upload: Upload) -> str:
    # Forms send line ends as CRLF; what people write on phones has LF.
    text = upload.typed["text"].replace("\r\n", "\n")
    if not text.strip() and upload.file is None:
        raise Invalid(pages.text(member.visitor, "message.text_missing"), field="text")
    if len(text) > LONGEST_TEXT:
        longest = pages.text(member.visitor, "message.text_too_long", most=LONGEST_TEXT, length=len(text))
        raise Invalid(longest, field="text")
    return text if text.strip() else ""


async def _kind(file: GivenFile, *, as_document: bool) -> MediaKind:
    """What phones show at once is sent so; everything else, and what is wished so, as a file."""
    facts = await asyncio.to_thread(examine, file.loose.path)
    if as_document:
        return "document"
    return next((kind for kind in _SHOWN_AS if facts.mimetype in FITS[kind]), "document")


async def _staged(gateway: Gateway, file: GivenFile, kind: MediaKind) -> Staged:
    return await gateway.media.fit(file.loose, kind, filename=file.filename, hint=file.mimetype)


def _once(upload: Upload, draft: Draft, staged: Staged | None) -> Idempotency | None:
    """One page's form sends one thing once, also when its answer was lost and it is sent again."""
    if not is_id(upload.typed["once"]):
        return None
    said = hashlib.sha256(repr((str(draft.to), draft.kind, draft.text, draft.reply_to)).encode())
    said.update(staged.sha256 if staged is not None else b"")
    return Idempotency(f"dashboard-{upload.typed['once']}-{said.hexdigest()[:32]}", said.digest())
