"""What a conversation shows of each message: plain data, read from the rows with nothing of it trusted."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from appliance.model.media import MediaFile, MediaState
from appliance.model.message import MEDIA_KINDS, Message, MessageStatus
from appliance.store.conversation import MARKS

SHOWN_CHARACTERS = 800
QUOTED_CHARACTERS = 160
SHOWN_BYTES = 8 * 1024 * 1024
"""Larger pictures are not loaded into a page: their small preview is, if there is one."""
PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_PREVIEW_LONGEST = 48 * 1024
_JPEG_BASE64 = "/9j/"


class Quote(msgspec.Struct, frozen=True):
    """The message that is answered; `id` ours when it is known here; no `kind` and no text: not known at
    all."""

    id: str | None
    author: str | None
    from_me: bool
    kind: str | None
    text: str | None


class Attachment(msgspec.Struct, frozen=True):
    """A message's file. `is_here`: it can be fetched; `is_picture`: and shown in the page; `preview`: a
    small JPEG in base64 that came inside the message; `state` None for a file that we sent."""

    name: str | None
    mimetype: str
    size: int | None
    seconds: int | None
    state: MediaState | None
    is_picture: bool
    preview: str | None

    @property
    def is_here(self) -> bool:
        return self.state is MediaState.STORED


class Reaction(msgspec.Struct, frozen=True):
    """An emoji on a message; `people` how many, `by_us` whether one of them is this account."""

    emoji: str
    people: int
    by_us: bool


class Bubble(msgspec.Struct, kw_only=True):
    """One message as a person reads it. `text` may be cut: `length` is what it has in characters, and
    `edited_text` what it was changed to. `mark` is the sign that a reaction, an edit or a deletion gave a
    message that is not shown beside it."""

    id: str
    no: int
    kind: str
    from_me: bool
    author: str | None
    text: str | None
    length: int
    created_at: int
    timestamp: int | None
    status: MessageStatus | None
    error_code: str | None
    error_message: str | None
    can_be_answered: bool
    quote: Quote | None = None
    attachment: Attachment | None = None
    reactions: tuple[Reaction, ...] = ()
    is_edited: bool = False
    text_before: str | None = None
    is_deleted: bool = False
    forwarded: bool = False
    place: tuple[float, float] | None = None
    options: tuple[str, ...] = ()
    contacts: tuple[str, ...] = ()

    @property
    def is_cut(self) -> bool:
        return self.text is not None and self.length > len(self.text)

    @property
    def at_ms(self) -> int:
        """When it was written; what waits has no time of WhatsApp's yet."""
        return self.timestamp * 1000 if self.timestamp is not None else self.created_at

    @property
    def version(self) -> str:
        """Changes whenever the bubble looks different."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:10]


class Surroundings(msgspec.Struct, frozen=True):
    """What lies about a window of messages: marks that came later (oldest first), files by id, and messages
    that are answered, by WhatsApp's id."""

    marks: list[Message]
    files: Mapping[str, MediaFile]
    answered: Mapping[str, Message]


def bubbles(rows: Iterable[Message], around: Surroundings) -> list[Bubble]:
    """The messages oldest first; a mark whose message is among them is shown on it and not by itself."""
    ordered = sorted(rows, key=lambda row: row.no)
    shown = {row.wa_id: row for row in ordered if row.wa_id and row.kind not in MARKS}
    marks: dict[int, list[Message]] = {}
    taken: set[int] = set()
    for mark in {row.no: row for row in [*ordered, *around.marks] if row.kind in MARKS}.values():
        message = shown.get(target_of(mark) or "")
        if message is not None and _may_mark(mark, message):
            marks.setdefault(message.no, []).append(mark)
            taken.add(mark.no)
    found = []
    for row in ordered:
        if row.no not in taken:
            bubble = _bubble(row, around)
            _mark(bubble, sorted(marks.get(row.no, []), key=lambda mark: mark.no))
            found.append(bubble)
    return found


def target_of(mark: Message) -> str | None:
    """WhatsApp's id of the message that is reacted to, edited or deleted."""
    details = _object(mark.details)
    reaction = details.get("reaction")
    target = reaction.get("messageId") if isinstance(reaction, dict) else details.get("edits")
    return target if isinstance(target, str) else None


def answered_id(row: Message) -> str | None:
    """WhatsApp's id of the message that this one answers."""
    told = _object(row.details).get("replyTo")
    if isinstance(told, dict):
        return _text(told.get("messageId"))
    return _text(_context(row).get("stanzaId")) if row.via_api else None


def _bubble(row: Message, around: Surroundings) -> Bubble:
    details = _object(row.details)
    text = _reaction_of(details) if row.kind == "reaction" else row.text
    poll = details.get("poll")
    return Bubble(
        id=row.id,
        no=row.no,
        kind=row.kind,
        from_me=row.from_me,
        author=author_of(row, details),
        text=text if text is None else text[:SHOWN_CHARACTERS],
        length=len(text or ""),
        created_at=row.created_at,
        timestamp=row.timestamp,
        status=row.status,
        error_code=row.error_code,
        error_message=row.error_message,
        can_be_answered=row.wa_id is not None and row.kind not in MARKS,
        quote=_quote(row, details, around),
        attachment=_attachment(row, around),
        forwarded=details.get("forwarded") is True,
        place=_place(details.get("location")),
        options=_options(poll.get("options")) if isinstance(poll, dict) else (),
        contacts=_contacts(details.get("contacts")),
    )


def author_of(row: Message, details: dict[str, Any] | None = None) -> str | None:
    """What the writer of a message in a group calls itself, else its number; None in a direct chat."""
    if row.participant is None or row.from_me:
        return None
    sender = (_object(row.details) if details is None else details).get("sender")
    name = _text(sender.get("pushName")) if isinstance(sender, dict) else None
    return name or shown_address(row.participant)


def shown_address(address: str) -> str:
    """`+` and the digits of a phone number, the bare address of anything else."""
    user, _, server = address.partition("@")
    return f"+{user}" if server == "s.whatsapp.net" else address


def _may_mark(mark: Message, message: Message) -> bool:
    """Anybody may react; only its author may edit a message, and besides the author a group's admins, whom
    we do not know, may delete it."""
    is_author = (mark.from_me, mark.participant) == (message.from_me, message.participant)
    return mark.kind == "reaction" or is_author or (mark.kind == "delete" and mark.participant is not None)


def _mark(bubble: Bubble, marks: list[Message]) -> None:
    """Put later reactions, edits and deletions onto their message; the last word of each person counts."""
    emojis: dict[str, tuple[str, bool]] = {}
    for mark in marks:
        if mark.kind == "reaction":
            who = "" if mark.from_me else mark.participant or mark.chat
            emojis[who] = (_reaction_of(_object(mark.details)) or "", mark.from_me)
        elif mark.kind == "delete":
            bubble.is_deleted = True
        elif mark.text is not None:
            bubble.text_before = bubble.text if bubble.text_before is None else bubble.text_before
            bubble.text, bubble.length = mark.text[:SHOWN_CHARACTERS], len(mark.text)
            bubble.is_edited = True
    given = [emoji for emoji, _ in emojis.values() if emoji]
    bubble.reactions = tuple(
        Reaction(emoji, given.count(emoji), (emoji, True) in emojis.values())
        for emoji in dict.fromkeys(given)
    )


def _quote(row: Message, details: dict[str, Any], around: Surroundings) -> Quote | None:
    answered_as = answered_id(row)
    if answered_as is None:
        return None
    told, known = details.get("replyTo"), around.answered.get(answered_as)
    text = _text(told.get("text")) if isinstance(told, dict) else None
    if known is None:
        kind = _text(told.get("kind")) if isinstance(told, dict) else None
        sender = _text(told.get("sender")) if isinstance(told, dict) else None
        return Quote(None, shown_address(sender) if sender else None, False, kind, _short(text))
    author = None if known.from_me else author_of(known)
    return Quote(known.id, author, known.from_me, known.kind, _short(text or known.text))


def _attachment(row: Message, around: Surroundings) -> Attachment | None:
    if row.kind not in MEDIA_KINDS:
        return None
    content = _content(row)
    file = around.files.get(row.media_id or "")
    if file is None:
        size = _text(content.get("fileLength")) or ""
        return Attachment(
            name=_text(content.get("fileName")),
            mimetype=_text(content.get("mimetype")) or "",
            size=int(size) if size.isdecimal() and len(size) < 16 else None,
            seconds=_number(content.get("seconds")),
            state=None,
            is_picture=False,
            preview=_preview(content),
        )
    is_small = (file.size or 0) <= SHOWN_BYTES
    is_picture = file.state is MediaState.STORED and file.mimetype in PICTURES and is_small
    return Attachment(
        name=file.filename,
        mimetype=file.mimetype,
        size=file.size,
        seconds=file.seconds,
        state=file.state,
        is_picture=is_picture,
        preview=None if is_picture else _preview(content),
    )


def _preview(content: dict[str, Any]) -> str | None:
    """The small JPEG inside a message, as far as it looks like one and is small."""
    found = _text(content.get("jpegThumbnail"))
    if found is None or len(found) > _PREVIEW_LONGEST or not found.startswith(_JPEG_BASE64):
        return None
    return found if all(c.isascii() and (c.isalnum() or c in "+/=") for c in found) else None


def _content(row: Message) -> dict[str, Any]:
    inner = _object(row.content).get(row.type)
    return inner if isinstance(inner, dict) else {}


def _context(row: Message) -> dict[str, Any]:
    context = _content(row).get("contextInfo")
    return context if isinstance(context, dict) else {}


def _reaction_of(details: dict[str, Any]) -> str | None:
    reaction = details.get("reaction")
    return (_text(reaction.get("emoji")) or "")[:16] if isinstance(reaction, dict) else None


def _place(told: Any) -> tuple[float, float] | None:
    if not isinstance(told, dict):
        return None
    latitude, longitude = told.get("latitude"), told.get("longitude")
    if isinstance(latitude, float | int) and isinstance(longitude, float | int):
        return float(latitude), float(longitude)
    return None


def _options(told: Any) -> tuple[str, ...]:
    return tuple(str(option)[:200] for option in told[:20]) if isinstance(told, list) else ()


def _contacts(told: Any) -> tuple[str, ...]:
    if not isinstance(told, list):
        return ()
    return tuple(str(each.get("name") or "")[:200] for each in told[:20] if isinstance(each, dict))


def _object(raw: bytes) -> dict[str, Any]:
    """The JSON object, empty when it is none."""
    try:
        found = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _short(text: str | None) -> str | None:
    return text if text is None else text[:QUOTED_CHARACTERS]
