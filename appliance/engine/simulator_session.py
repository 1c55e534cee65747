"""One pretend WhatsApp session: it shows codes, is linked, sends, and hears from pretend people."""

import asyncio
import base64
import contextlib
import secrets
from collections.abc import Sequence
from pathlib import Path

from appliance.engine.base import (
    Applied,
    ChatNamed,
    EngineError,
    EngineEvent,
    Linked,
    MessageIn,
    OutgoingMessage,
    PairCode,
    PretendMessage,
    QrShown,
    ReceiptIn,
    Sent,
    SessionSpec,
    StateChanged,
)
from appliance.engine.simulator_content import compose
from appliance.engine.simulator_files import PretendFile, fetch, offered
from appliance.engine.simulator_peers import Answer, play_of, registered, said
from appliance.engine.simulator_people import (
    OWNER_PHONE,
    STRANGER_PHONE,
    Owner,
    address,
    envelope,
    name_of,
    our_message_id,
    phone_jid,
)
from appliance.engine.simulator_timeline import Happening, Tell, Timeline
from appliance.model.clock import Clock
from appliance.model.device import DeviceStatus
from appliance.model.jid import Jid, parse_jid
from appliance.model.message import MessageStatus

AT_ONCE = 100
"""Messages of one call that are made before others get their turn."""
_CODE_LETTERS = "123456789ABCDEFGHJKLMNPQRSTVWXYZ"
_WAITING = {DeviceStatus.CONNECTING, DeviceStatus.RECONNECTING}


class PretendSession:
    """A Session without WhatsApp. `code_lifetimes_s`: how long each QR code of one attempt is shown."""

    def __init__(
        self, spec: SessionSpec, tell: Tell, clock: Clock, code_lifetimes_s: Sequence[float]
    ) -> None:
        self._clock = clock
        self._timeline = Timeline(tell)
        self._files = pretend_files(spec)
        self._code_lifetimes_s = code_lifetimes_s
        self._linked = spec.linked
        self._owner = Owner(spec.phone or OWNER_PHONE, spec.push_name)
        self._running = False
        self._online = False
        self._ended = asyncio.Event()
        self._attempt = 0
        self._codes_end_ms = 0
        self._code_phone: str | None = None
        self._named: set[str] = set()

    async def start(self) -> None:
        """Connect, or show QR codes; returns at once. Idempotent while running."""
        self._timeline.begin()
        if self._running:
            return
        self._running = True
        self._ended.clear()
        self._attempt += 1
        if self._linked:
            self._timeline.later(0, self._connected, network=False)
        else:
            self._show_codes()

    async def stop(self) -> None:
        """End the session, keep the link; sends under way fail, what was going to happen does not."""
        self._running = self._online = False
        self._attempt += 1
        self._ended.set()
        await self._timeline.end()

    async def logout(self) -> None:
        """Unlink and end: nothing of the linked account remains."""
        self._unlink()
        await self.stop()

    async def send(self, message: OutgoingMessage) -> Sent:
        """Hand the message to the pretend person, who plays the part of their number."""
        self._require_connection()
        await self._timeline.room()
        to = parse_jid(message.to)
        play = play_of(to)
        if play.taken_s:
            await self._take(play.taken_s)
        if play.refusal is not None:
            raise play.refusal(self._clock.now_ms())
        wa_id = our_message_id()
        for delay_s, status in play.receipts:
            self._timeline.later(delay_s, self._receipt(to, wa_id, status))
        if play.answers is not None:
            for answer in play.answers(said(message, to, wa_id)):
                self._timeline.later(answer.after_s, self._answer(answer))
        chat, alt = address(to)
        return Sent(wa_id, self._now_s(), chat, alt)

    async def pair_code(self, phone: str) -> PairCode:
        """A code for that number; the next scan takes its place. EngineError `no_qr` when none is shown."""
        self._require_codes()
        self._code_phone = phone
        letters = "".join(secrets.choice(_CODE_LETTERS) for _ in range(8))
        return PairCode(f"{letters[:4]}-{letters[4:]}", self._codes_end_ms)

    async def download(self, source: bytes, path: Path) -> int:
        return await asyncio.to_thread(fetch, source, self._files, path)

    async def check(self, phones: list[str]) -> dict[str, str | None]:
        self._require_connection()
        return {phone: phone_jid(phone) if registered(phone) else None for phone in phones}

    async def scan(self, phone: str | None, push_name: str | None) -> None:
        """The pretend phone scans the code, or its owner types the link code; returns after COMMIT."""
        self._require_codes()
        number = phone or self._code_phone or OWNER_PHONE
        self._owner = Owner(number, push_name or name_of(number))
        self._linked, self._code_phone = True, None
        self._attempt += 1
        owner = self._owner
        linked = Linked(owner.jid, owner.lid, owner.phone, owner.push_name)
        await self._timeline.now(lambda: linked, network=False)
        await self._timeline.now(self._connected, network=False)

    async def set_state(self, state: StateChanged, after_s: float) -> None:
        """Fall into `state`. EngineError `not_connected` when the session is not linked."""
        if not self._linked:
            raise EngineError("not_connected", "the pretend phone is not linked")
        if after_s > 0:
            self._timeline.later(after_s, lambda: self._fall(state), network=False)
        else:
            await self._timeline.now(lambda: self._fall(state), network=False)

    async def receipt(self, receipt: ReceiptIn) -> None:
        """Somebody confirms messages of ours."""
        self._require_link()
        await self._timeline.now(lambda: receipt)

    async def write(self, message: PretendMessage, count: int) -> list[tuple[MessageIn, Applied]]:
        """Somebody writes; what is written while the connection is lost arrives when it is back."""
        self._require_link()
        await self._timeline.room()
        file = await asyncio.to_thread(offered, message, self._files)
        written: list[tuple[MessageIn, Applied]] = []
        while len(written) < count:
            told = [self._composed(message, file) for _ in range(min(AT_ONCE, count - len(written)))]
            self._introduce(told[0].chat)
            applied = await asyncio.gather(*(self._timeline.now(_always(event)) for event in told))
            written += zip(told, applied, strict=True)
        return written

    def _require_connection(self) -> None:
        if not self._online:
            raise EngineError("not_connected", "the pretend phone is not connected", retryable=True)

    def _require_link(self) -> None:
        if not (self._running and self._linked):
            raise EngineError("not_connected", "the pretend phone is not linked")

    def _require_codes(self) -> None:
        if not self._running or self._linked:
            raise EngineError("no_qr", "no QR code is shown")

    def _connected(self) -> EngineEvent | None:
        if not (self._running and self._linked):
            return None
        self._set_online(True)
        owner = self._owner
        return StateChanged(
            DeviceStatus.CONNECTED,
            jid=owner.jid,
            lid=owner.lid,
            phone=owner.phone,
            push_name=owner.push_name,
        )

    def _fall(self, state: StateChanged) -> EngineEvent | None:
        if state.status is DeviceStatus.CONNECTED:
            self._running = self._linked
            return self._connected()
        self._set_online(False)
        self._running = self._running and state.status in _WAITING
        if state.status is DeviceStatus.LOGGED_OUT:
            self._unlink()
        return state

    def _set_online(self, online: bool) -> None:
        self._online = online
        self._timeline.set_online(online)

    def _unlink(self) -> None:
        self._linked = False
        self._owner = Owner(OWNER_PHONE, None)
        self._named.clear()
        self._timeline.drop()

    def _show_codes(self) -> None:
        attempt = self._attempt
        self._codes_end_ms = self._clock.now_ms() + int(sum(self._code_lifetimes_s) * 1000)
        self._timeline.later(0, lambda: self._code(attempt, 1), network=False)

    def _code(self, attempt: int, seq: int) -> EngineEvent | None:
        """The next QR code of the attempt; after the last one it is over, as with the real library."""
        if attempt != self._attempt:
            return None
        if seq > len(self._code_lifetimes_s):
            self._running = False
            return StateChanged(DeviceStatus.DISCONNECTED, reason="qr_timeout")
        lifetime_s = self._code_lifetimes_s[seq - 1]
        self._timeline.later(lifetime_s, lambda: self._code(attempt, seq + 1), network=False)
        return QrShown(_qr_text(), seq, self._clock.now_ms() + int(lifetime_s * 1000))

    async def _take(self, seconds: float) -> None:
        """WhatsApp takes its time; a session that ends meanwhile cannot tell what became of the message."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        if not self._online:
            raise EngineError("engine_timeout", "the connection ended while sending", unknown_outcome=True)

    def _receipt(self, to: Jid, wa_id: str, status: MessageStatus) -> Happening:
        chat, chat_alt = address(to)
        reader = to if to.chat_kind == "direct" else parse_jid(phone_jid(STRANGER_PHONE))
        sender, sender_alt = address(reader)
        failed = status is MessageStatus.FAILED
        return lambda: ReceiptIn(
            chat=chat,
            sender=sender,
            wa_ids=[wa_id],
            status=status,
            timestamp=self._now_s(),
            chat_alt=chat_alt,
            sender_alt=sender_alt,
            error_code="engine_error" if failed else None,
            error_message="WhatsApp took the message back (rehearsed)" if failed else None,
        )

    def _answer(self, answer: Answer) -> Happening:
        def come() -> EngineEvent:
            return self._composed(answer.message, offered(answer.message, self._files), update=answer.update)

        if answer.message.group:
            self._introduce(answer.message.group)
        return come

    def _introduce(self, chat: str) -> None:
        """A group's subject is known before anything is heard from it."""
        if chat not in self._named and parse_jid(chat).chat_kind == "group":
            self._named.add(chat)
            self._timeline.later(0, lambda: ChatNamed(chat, "Sandbox group"))

    def _composed(
        self, message: PretendMessage, file: PretendFile | None, *, update: bool = False
    ) -> MessageIn:
        arriving = envelope(message, self._owner, self._now_s())
        return compose(arriving, message, file, update=update)

    def _now_s(self) -> int:
        return self._clock.now_ms() // 1000


def pretend_files(spec: SessionSpec) -> Path:
    """Where the files are kept that pretend people sent to the device."""
    return spec.folder / "pretend"


def _always(event: EngineEvent) -> Happening:
    return lambda: event


def _qr_text() -> str:
    """The form of a real code: a reference and three public keys."""
    keys = (base64.b64encode(secrets.token_bytes(32)).decode("ascii") for _ in range(3))
    return f"2@{base64.b64encode(secrets.token_bytes(84)).decode('ascii')},{','.join(keys)}"
