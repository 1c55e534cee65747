"""What the outside world was told and what came out in the end, compared: every promise that kills may not
break. Functions of two records, so that the comparison itself can be put to the test."""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

Victim = Literal["group", "main", "worker", "fork server", "nobody"]

SENT = {"sent", "delivered", "read"}
ENDED = {*SENT, "failed", "unconfirmed"}
# What the library has taken from WhatsApp and a worker that is killed has not yet told is lost with it.
LOST_WITHIN_S = 1.0
SEEN_LATER_S = 0.5


class Kill(msgspec.Struct):
    """One SIGKILL, or an orderly stop, which kills `nobody`. `number` is the account of a killed worker;
    `back_s` the time from the kill to /readyz, or to that worker's device being connected again (nothing to
    wait for after the fork server), `where` the step that main was at, if that was chosen."""

    victim: Victim
    at: float
    number: str | None = None
    back_s: float = 0.0
    where: str = ""

    def takes_along(self, number: str) -> bool:
        """Whether what the worker of that account had in hand went down, too."""
        return self.victim == "group" or (self.victim == "worker" and self.number == number)


class Written(msgspec.Struct):
    """A text that somebody wrote to one of our accounts: WhatsApp's id of it, to whom, and when."""

    wa_id: str
    number: str
    at: float


class Books(msgspec.Struct):
    """What the outside world knows. An outgoing text is its own Idempotency-Key; `answered` holds the ids it
    was accepted as, `replays` how often that was said again, `replies` how many answered an earlier message.
    `faults` are promises that were seen broken on the way."""

    answered: dict[str, set[str]] = msgspec.field(default_factory=lambda: defaultdict(set))
    replays: int = 0
    replies: int = 0
    written: dict[str, Written] = msgspec.field(default_factory=dict)
    kills: list[Kill] = msgspec.field(default_factory=list)
    faults: list[str] = msgspec.field(default_factory=list)

    def excused(self, text: str, taken: dict[str, float]) -> bool:
        """Whether a worker that had the text in hand was killed: after it was written, and before or just
        after WhatsApp heard that it has been taken. It may hear that from the next worker: what was decrypted
        once cannot be again, and the library says then that it has it."""
        note = self.written[text]
        heard = taken.get(note.wa_id)
        return heard is not None and any(
            kill.takes_along(note.number)
            and min(note.at, heard - SEEN_LATER_S) <= kill.at <= heard + LOST_WITHIN_S
            for kill in self.kills
        )

    def around(self, text: str, taken: dict[str, float]) -> str:
        """The kills near the moment when the text was taken from WhatsApp."""
        note = self.written[text]
        at = taken.get(note.wa_id, note.at)
        near = [
            f"{kill.at - at:+.2f} s {kill.where or kill.victim}"
            for kill in self.kills
            if abs(kill.at - at) < 6
        ]
        return f"though its worker was not killed then (kills: {', '.join(near)})"


class Found(msgspec.Struct):
    """What came out, once everything had come to rest. `ours` and `came` are messages as the API lists them
    (the latter only `messageId` → type), `events` the committed numbers, `posted` those that reached the
    webhook, `inbox` the ids under which each text reached the other person, `accepted` what WhatsApp took,
    `taken` when the library said that it has an incoming message (monotonic seconds)."""

    ours: list[Any]
    came: dict[str, str]
    events: set[int]
    posted: set[int]
    inbox: dict[str, set[str]]
    accepted: set[str]
    taken: dict[str, float]

    def statuses(self) -> dict[str, int]:
        counts: dict[str, int] = defaultdict(int)
        for message in self.ours:
            counts[message["status"]] += 1
        return dict(counts)


class Report(msgspec.Struct):
    """`faults` are broken promises. `lost` incoming texts went down with a killed worker; `unread` ones were
    told as undecryptable, for with a worker the library's newest encryption keys may go too."""

    books: Books
    found: Found
    lost: list[str]
    unread: list[str]
    faults: list[str]

    def slowest(self, *victims: Victim) -> float:
        return max((kill.back_s for kill in self.books.kills if kill.victim in victims), default=0.0)

    def lines(self) -> list[str]:
        books, found = self.books, self.found
        return [
            f"kills: {', '.join(self._times())}",
            f"accepted: {len(books.answered)}, ended: {found.statuses()}, replays: {books.replays}",
            f"written to us: {len(books.written)}, lost with a worker: {len(self.lost)}, "
            f"undecryptable: {len(self.unread)}",
            f"events: {len(found.events)}",
            *(f"FAULT {fault}" for fault in self.faults),
        ]

    def _times(self) -> Iterable[str]:
        taken = defaultdict(list)
        for kill in self.books.kills:
            taken[kill.victim].append(kill.back_s)
        for victim, times in sorted(taken.items()):
            median, longest = statistics.median(times), max(times)
            yield f"{len(times)} × {victim} (back after {median:.2f} s, at most {longest:.2f} s)"


def judge(books: Books, found: Found) -> Report:
    """Everything that was promised, against what came out."""
    lost, unread = missing(books, found.came)
    faults = [*books.faults, *sends(books, found), *doubles(found), *untold(found)]
    unexcused = [text for text in lost if not books.excused(text, found.taken)]
    faults += [f"{text!r} was lost {books.around(text, found.taken)}" for text in unexcused]
    if not any(kill.victim in {"group", "worker"} for kill in books.kills):
        faults += [f"{text!r} was not decrypted {books.around(text, found.taken)}" for text in unread]
    return Report(books, found, lost, unread, faults)


def missing(books: Books, came: dict[str, str]) -> tuple[list[str], list[str]]:
    """The texts that did not come in, and those that came as undecryptable."""
    lost = [text for text, note in books.written.items() if note.wa_id not in came]
    unread = [text for text, note in books.written.items() if came.get(note.wa_id) == "undecryptable"]
    return lost, unread


def sends(books: Books, found: Found) -> Iterable[str]:
    """Each accepted send is one message, with the id that was answered, and it has an end."""
    of_text: dict[str, set[str]] = defaultdict(set)
    for message in found.ours:
        of_text[message["text"]].add(message["id"])
        if message["status"] not in ENDED:
            yield f"{message['text']!r} ended as {message['status']}"
    for text, ids in books.answered.items():
        if of_text[text] != ids or len(ids) != 1:
            yield f"{text!r} was answered as {ids}, stored as {of_text[text]}"


def doubles(found: Found) -> Iterable[str]:
    """No text reached WhatsApp under two ids; what is told as sent did reach it, what failed did not."""
    for text, ids in found.inbox.items():
        if len(ids) > 1:
            yield f"{text!r} was sent {len(ids)} times"
    for message in found.ours:
        text, status = message["text"], message["status"]
        if status in SENT and message["messageId"] not in found.accepted:
            yield f"{text!r} is told as {status}, and WhatsApp has not got it"
        if status == "failed" and text in found.inbox:
            yield f"{text!r} is told as failed, and WhatsApp has got it"


def untold(found: Found) -> Iterable[str]:
    """Every committed event reached the webhook."""
    if away := found.events - found.posted:
        yield f"{len(away)} committed events did not reach the webhook"
