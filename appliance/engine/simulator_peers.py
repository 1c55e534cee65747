"""The people one can rehearse with: what each sandbox number does with a message, as one table."""

from collections.abc import Callable, Iterable

import msgspec

from appliance.engine.base import EngineError, OutgoingMessage, PretendMessage, Quoted
from appliance.engine.simulator_people import STRANGER_PHONE, their_message_id
from appliance.model.jid import Jid
from appliance.model.message import MessageStatus

ECHO_GROUP = "120363999000000001@g.us"
CLOSED_GROUP = "120363999000000002@g.us"
RESTRICTION_MS = 3_600_000

_MAGIC = "9990000000"
_ANSWER_S = 0.5
_DECRYPTED_S = 0.3
_DELIVERED, _READ = (0.2, MessageStatus.DELIVERED), (0.4, MessageStatus.READ)


class Answer(msgspec.Struct, frozen=True):
    """What comes back, and when. `update`: the readable form of what was told as undecryptable."""

    after_s: float
    message: PretendMessage
    update: bool = False


class Said(msgspec.Struct, frozen=True):
    """A message of ours on the other side: its id, the address it went to, and what it said."""

    wa_id: str
    to: Jid
    text: str

    @property
    def quoted(self) -> Quoted:
        return Quoted(self.wa_id, None, self.text)


Answers = Callable[[Said], Iterable[Answer]]
Refusal = Callable[[int], EngineError]


class Play(msgspec.Struct, frozen=True):
    """How a message fares: WhatsApp takes it after `taken_s` or refuses it, then come receipts and answers.

    `receipts` are (seconds after it was taken, status) in the order of time.
    """

    receipts: tuple[tuple[float, MessageStatus], ...] = (_DELIVERED, _READ)
    answers: Answers | None = None
    refusal: Refusal | None = None
    taken_s: float = 0.0


def play_of(to: Jid) -> Play:
    """What happens to a message for that address."""
    if str(to) == CLOSED_GROUP:
        return Play(refusal=lambda _now: EngineError("not_in_group", "you are not a member (rehearsed)"))
    if str(to) == ECHO_GROUP:
        return Play(answers=_echo)
    if to.chat_kind not in {"direct", "group"}:
        return Play(receipts=())
    if to.is_sandbox and to.user.startswith(_MAGIC):
        return PLAYS.get(to.user.removeprefix(_MAGIC), Play())
    return Play()


def registered(phone: str) -> bool:
    """Whether the number is on the pretend WhatsApp: all but one are."""
    return phone != f"{_MAGIC}22"


def _author(said: Said) -> PretendMessage:
    if said.to.is_phone:
        return PretendMessage(phone=said.to.user)
    if said.to.is_lid:
        return PretendMessage(lid=said.to.user)
    return PretendMessage(phone=STRANGER_PHONE, group=str(said.to))


def _answer(said: Said, after_s: float = _ANSWER_S, **what: object) -> Answer:
    return Answer(after_s, msgspec.structs.replace(_author(said), **what))


def _echo(said: Said) -> Iterable[Answer]:
    yield _answer(said, text=said.text)


def _quote(said: Said) -> Iterable[Answer]:
    yield _answer(said, text=said.text, reply=said.quoted)


def _react(said: Said) -> Iterable[Answer]:
    yield _answer(said, kind="reaction", target=said.quoted, emoji="👍")


def _picture(said: Said) -> Iterable[Answer]:
    yield _answer(said, kind="image", text="A picture from the sandbox")


def _without_number(said: Said) -> Iterable[Answer]:
    yield _answer(said, hidden=True, text=said.text)


def _undecryptable(said: Said) -> Iterable[Answer]:
    wa_id = their_message_id()
    yield _answer(said, kind="undecryptable", wa_id=wa_id)
    readable = _answer(said, _ANSWER_S + _DECRYPTED_S, wa_id=wa_id, text=said.text)
    yield msgspec.structs.replace(readable, update=True)


def _broken_picture(said: Said) -> Iterable[Answer]:
    yield _answer(said, kind="image", text="This picture cannot be downloaded", broken=True)


def _expired(_now_ms: int) -> EngineError:
    return EngineError("expired", "not sent in time (rehearsed)")


def _interrupted(_now_ms: int) -> EngineError:
    return EngineError("engine_timeout", "interrupted while sending (rehearsed)", unknown_outcome=True)


def _not_registered(_now_ms: int) -> EngineError:
    return EngineError("not_on_whatsapp", "no such number (rehearsed)")


def _restricted(now_ms: int) -> EngineError:
    text = "463: no new contacts for now (rehearsed)"
    return EngineError("reachout_restricted", text, until=now_ms + RESTRICTION_MS)


PLAYS: dict[str, Play] = {
    "01": Play(receipts=()),
    "02": Play(receipts=(_DELIVERED,)),
    "03": Play(),
    "04": Play(receipts=(_DELIVERED, _READ, (0.6, MessageStatus.PLAYED))),
    "05": Play(taken_s=20.0),
    "06": Play(refusal=_expired),
    "07": Play(receipts=((0.2, MessageStatus.FAILED),)),
    "08": Play(refusal=_interrupted),
    "09": Play(
        receipts=(
            (0.2, MessageStatus.READ),
            (0.25, MessageStatus.READ),
            (0.4, MessageStatus.DELIVERED),
            (0.45, MessageStatus.DELIVERED),
        )
    ),
    "10": Play(answers=_echo),
    "11": Play(answers=_quote),
    "12": Play(answers=_react),
    "13": Play(answers=_picture),
    "14": Play(answers=_without_number),
    "15": Play(answers=_undecryptable),
    "16": Play(answers=_broken_picture),
    "22": Play(refusal=_not_registered),
    "63": Play(refusal=_restricted),
}
"""By the last two digits of `9990000000NN`; numbers that are not here behave ordinarily. The gateway itself
refuses `…29`, `…53` and `…57` before they get here."""


def said(message: OutgoingMessage, to: Jid, wa_id: str) -> Said:
    """The message as its reader sees it; a file without a caption is called by its kind."""
    return Said(wa_id, to, message.text or message.kind)
