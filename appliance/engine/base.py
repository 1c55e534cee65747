"""The port between the gateway and whatever speaks WhatsApp: commands down, events up, each event
acknowledged after COMMIT.

Gateway → Engine.open(spec) → Session.start/send/pair_code/…   (commands, each with the engine's own deadline)
Engine  → EventSink(Incoming(event, ack))                      (events; the sink waits when the gateway is
behind)

Events of one device arrive in order. `ack` must be called once the event's transaction has committed:
until then the
engine keeps the event, in the worker's memory or in its spool file, and tells it again after a crash.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from appliance.model.device import DeviceStatus
from appliance.model.message import MessageStatus


class SessionSpec(msgspec.Struct, frozen=True):
    """What a session needs to run. `folder` is the device's own directory (session database, log, spool);
    `proxy` a URL or None."""

    device_id: str
    folder: Path
    sandbox: bool
    linked: bool
    phone: str | None = None
    push_name: str | None = None
    jid: str | None = None
    lid: str | None = None
    proxy: str | None = None


class Quoted(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message that is answered: its WhatsApp id, its author's JID (None: ourselves), its text for the
    preview."""

    wa_id: str
    sender: str | None = None
    text: str | None = None


class OutgoingMedia(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file to send; `path` is readable by the worker. `seconds` and `waveform` (64 bytes, 0–100) are for
    audio and voice."""

    path: str
    mimetype: str
    size: int
    filename: str | None = None
    seconds: int | None = None
    waveform: bytes | None = None
    width: int | None = None
    height: int | None = None
    thumbnail: bytes | None = None


class OutgoingMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be sent. `ref` is our id of it, which comes back in SendEnded; `to` a JID; `kind` `text`
    or a media kind; `text` the body or the caption;
    `mentions` JIDs."""

    to: str
    kind: str
    text: str | None = None
    media: OutgoingMedia | None = None
    reply: Quoted | None = None
    mentions: list[str] = []
    ref: str = ""


class Sent(msgspec.Struct, frozen=True):
    """WhatsApp's server took the message: its id, and the server's time in seconds. `chat` is the address
    it went to."""

    wa_id: str
    timestamp: int
    chat: str | None = None
    chat_alt: str | None = None


class PairCode(msgspec.Struct, frozen=True):
    """The code to type on the phone (`ABCD-EFGH`); `expires_at` ms."""

    code: str
    expires_at: int


class EngineError(Exception):
    """A command failed. `code` is one of model.errors' codes or a message failure code; `text` WhatsApp's
    or the library's own words.

    `unknown_outcome`: it may have happened all the same (the worker died or hung while at it).
    `retryable`: nothing happened and the same command may work later (not connected just now).
    """

    def __init__(
        self,
        code: str,
        text: str = "",
        *,
        unknown_outcome: bool = False,
        retryable: bool = False,
        until: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.unknown_outcome = unknown_outcome
        self.retryable = retryable
        self.until = until


class QrShown(msgspec.Struct, tag="qr", tag_field="event", frozen=True):
    """A QR code to scan: `qr` its raw text, `seq` counts from 1 in this attempt, `expires_at` ms."""

    qr: str
    seq: int
    expires_at: int


class StateChanged(msgspec.Struct, tag="state", tag_field="event", frozen=True, omit_defaults=True):
    """The session's state. With CONNECTED the account's addresses stand beside it; `until` (ms) with BANNED.

    `reason` is a short stable word (`qr_timeout`, `connection_lost`, `device_removed`, `replaced` …),
    `reason_code` WhatsApp's number.
    """

    status: DeviceStatus
    reason: str | None = None
    reason_code: int | None = None
    until: int | None = None
    jid: str | None = None
    lid: str | None = None
    phone: str | None = None
    push_name: str | None = None


class Linked(msgspec.Struct, tag="linked", tag_field="event", frozen=True, omit_defaults=True):
    """Pairing succeeded: the account's addresses. `jid` is without the device part."""

    jid: str
    lid: str | None = None
    phone: str | None = None
    push_name: str | None = None


class IncomingMedia(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that came with a message. `source` is opaque: Session.download takes it back to fetch the
    file."""

    kind: str
    mimetype: str
    size: int | None = None
    filename: str | None = None
    seconds: int | None = None
    source: bytes = b""


class ReplyTo(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message that this one answers, as far as the sender told: WhatsApp's id, author's JID, kind and
    text."""

    message_id: str
    sender: str | None = None
    kind: str | None = None
    text: str | None = None


class MessageIn(msgspec.Struct, tag="message", tag_field="event", frozen=True, omit_defaults=True):
    """A message that others wrote, or that was typed on the linked phone (`from_me`).

    `chat` and `sender` are JIDs as WhatsApp gave them (often LIDs), `…_alt` the other form if it is known;
    `timestamp` seconds.
    `type` is `conversation` or the first `…Message` key of `content`, `undecryptable` when it could not be
    read;
    `kind` our word for it (text, image, …, reaction, edit, delete, poll_vote, undecryptable, unknown).
    `content` has WhatsApp-Web field names, 64-bit numbers as strings, bytes as base64. `update`: it was
    told as undecryptable before.
    `details`: ready JSON members for the webhook (`reaction`, `location`, `forwarded`, `edits`,
    `viewOnce`, `poll` …).
    """

    chat: str
    sender: str
    wa_id: str
    timestamp: int
    from_me: bool
    kind: str
    type: str
    content: dict[str, Any]
    chat_alt: str | None = None
    sender_alt: str | None = None
    push_name: str | None = None
    text: str | None = None
    reply_to: ReplyTo | None = None
    mentions: list[str] = []
    media: IncomingMedia | None = None
    details: dict[str, Any] = {}
    update: bool = False


class ReceiptIn(msgspec.Struct, tag="receipt", tag_field="event", frozen=True, omit_defaults=True):
    """Messages of ours reached (`delivered`), were `read` or `played`; `failed` when WhatsApp took them
    back. `timestamp` seconds."""

    chat: str
    sender: str
    wa_ids: list[str]
    status: MessageStatus
    timestamp: int
    chat_alt: str | None = None
    sender_alt: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class ChatNamed(msgspec.Struct, tag="chat", tag_field="event", frozen=True):
    """A group's (or newsletter's) subject became known."""

    chat: str
    name: str


class SendEnded(msgspec.Struct, tag_field="event", tag="send_ended", frozen=True, omit_defaults=True):
    """How handing over message `ref` ended: `sent`, or else the members of EngineError.

    It repeats what Session.send returned or raised, but as an event it outlives a death of the main
    process: what WhatsApp
    has taken is then known all the same.
    """

    ref: str
    sent: Sent | None = None
    code: str = ""
    text: str = ""
    unknown_outcome: bool = False
    until: int | None = None


EngineEvent = QrShown | StateChanged | Linked | MessageIn | ReceiptIn | ChatNamed | SendEnded


class Applied(msgspec.Struct, frozen=True):
    """What became of an event: the ids it was stored under; all None when it changed nothing (a repeat)."""

    message_id: str | None = None
    event_no: int | None = None


class Incoming(msgspec.Struct, frozen=True):
    """One event on its way up. `incarnation` and `seq` (rising within it) make a repeat recognisable; 0,
    0: not numbered.

    `ack(None)` after an event that was put into the dead-letter table; never called when the process is
    going down.
    """

    device_id: str
    event: EngineEvent
    ack: Callable[[Applied | None], None]
    incarnation: int = 0
    seq: int = 0


EventSink = Callable[[Incoming], Awaitable[None]]


class Session(Protocol):
    """One device's connection to WhatsApp. Every call may raise EngineError; none takes longer than its
    documented deadline."""

    async def start(self) -> None:
        """Begin connecting (or showing QR codes) and return at once; progress comes as events. Idempotent
        while running."""

    async def stop(self) -> None:
        """End the session, keep the link. Returns within 5 s, whatever the network does. Idempotent."""

    async def send(self, message: OutgoingMessage) -> Sent:
        """Hand a message to WhatsApp; returns when its server has taken it. Deadline 60 s (media: 300 s),
        then `unknown_outcome`."""
        ...

    async def pair_code(self, phone: str) -> PairCode:
        """A link code for the phone with that number (digits); the session must be showing QR codes.
        Deadline 30 s."""
        ...

    async def logout(self) -> None:
        """Unlink from WhatsApp and forget the session. Deadline 20 s; EngineError when WhatsApp did not
        confirm."""

    async def download(self, source: bytes, path: Path) -> int:
        """Fetch a received file into `path`; returns its size in bytes. Deadline 120 s."""
        ...

    async def check(self, phones: list[str]) -> dict[str, str | None]:
        """For each number (digits): its canonical JID, or None when it is not on WhatsApp. Deadline 20 s."""
        ...


class Engine(Protocol):
    """A way to WhatsApp. `open` and `close` bracket everything; sessions are made per device."""

    async def open(self, sink: EventSink) -> None:
        """Get ready; events go to `sink` from now on."""

    async def recover(self, spec: SessionSpec) -> None:
        """Tell what a session of an earlier run left unacknowledged (its spool), after making sure that it
        no longer runs."""

    def session(self, spec: SessionSpec) -> Session:
        """The device's session, made anew with this spec; the caller keeps it. Never blocks."""
        ...

    async def forget(self, spec: SessionSpec) -> None:
        """Delete everything the engine keeps for the device. Its session must have been stopped."""

    async def close(self) -> None:
        """Stop every session and every helper; events in flight are told first. Returns within 10 s."""


class PretendMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody writes to a sandbox device, or its owner on the pretend phone (`from_me`).

    `phone` (digits) and `lid` (digits) name the other person: both known, or only one (a phone alone gets a
    LID of its own; `hidden`: they write under a LID whose phone is not known). `wa_id` and `timestamp`
    (seconds) are made up when absent. `kind` is our word for it, or `raw` with `content`. A file is the one
    at `path`, else a built-in sample; `broken`: it cannot be downloaded. `target` is the message reacted to,
    edited, deleted or voted on.
    """

    kind: str = "text"
    phone: str | None = None
    lid: str | None = None
    hidden: bool = False
    group: str | None = None
    from_me: bool = False
    push_name: str | None = None
    wa_id: str | None = None
    timestamp: int | None = None
    text: str | None = None
    reply: Quoted | None = None
    mentions: tuple[str, ...] = ()
    forwarded: bool = False
    path: str | None = None
    filename: str | None = None
    mimetype: str | None = None
    seconds: int | None = None
    broken: bool = False
    target: Quoted | None = None
    emoji: str | None = None
    options: tuple[str, ...] = ()
    latitude: float | None = None
    longitude: float | None = None
    name: str | None = None
    content: dict[str, Any] | None = None


class SandboxControl(Protocol):
    """The simulator's strings: what a person with the pretend phone does, and the people that person knows.

    All are for sandbox devices whose session runs, and return when what happened has been committed; else
    EngineError `not_connected`, or `engine_timeout` when it was not committed in time.
    """

    async def scan(self, device_id: str, phone: str | None, push_name: str | None) -> None:
        """The phone scans the QR code (any unlinked session is accepted; EngineError `no_qr` when none is
        shown). `phone` None: the number the link code was asked for, else 999000000000."""

    async def set_state(self, device_id: str, state: StateChanged, after_s: float = 0) -> None:
        """The session falls into that state as if WhatsApp had said so; CONNECTED heals it. With `after_s`
        it returns at once."""

    async def receipt(self, device_id: str, receipt: ReceiptIn) -> None:
        """Somebody's phone confirms messages of ours."""

    async def write(
        self, device_id: str, message: PretendMessage, count: int = 1
    ) -> list[tuple[MessageIn, Applied]]:
        """Somebody writes the message, `count` times: each as it was told, and the ids it was stored under.

        Raises ValueError for a message that nobody can write, OSError when its file cannot be read.
        """
        ...
