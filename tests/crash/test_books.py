"""The books must notice what they are there for: a run without faults, spoiled in one place at a time."""

from collections.abc import Callable

import pytest
from crash.books import Books, Found, Kill, Report, Victim, Written, judge

OURS, OTHER = "628111000111", "628333000333"


def record(victim: Victim, number: str | None = None) -> tuple[Books, Found]:
    """One sent, one unconfirmed, one failed, one received; one kill, ten seconds after all of it."""
    books = Books(kills=[Kill(victim, 110.0, number)])
    ours = []
    for n, status in enumerate(("delivered", "unconfirmed", "failed")):
        books.answered[f"out {n}"] = {f"c{n}"}
        wa_id = "W0" if status == "delivered" else None
        ours.append({"id": f"c{n}", "text": f"out {n}", "status": status, "messageId": wa_id})
    books.written["in 1"] = Written("P1", OURS, 90.0)
    inbox, told = {"out 0": {"W0"}, "out 1": {"W1"}}, {1, 2, 3, 4}
    return books, Found(ours, {"P1": "text"}, {1, 2, 3}, told, inbox, {"W0", "W1"}, {"P1": 100.0})


def judged(spoil: Callable[[Books, Found], object], victim: Victim = "main") -> Report:
    books, found = record(victim, OURS)
    spoil(books, found)
    return judge(books, found)


def test_a_run_that_kept_every_promise() -> None:
    for victim in ("group", "main", "worker", "fork server", "nobody"):
        assert judged(lambda books, found: None, victim).faults == []


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda b, f: f.ours.pop(0), "'out 0' was answered as {'c0'}, stored as set()"),
        (lambda b, f: f.ours[0].update(id="c9"), "'out 0' was answered as {'c0'}, stored as {'c9'}"),
        (lambda b, f: f.ours.append(f.ours[0] | {"id": "c9"}), "'out 0' was answered as {'c0'}, stored as"),
        (lambda b, f: b.answered["out 0"].add("c9"), "'out 0' was answered as"),
        (lambda b, f: f.ours[1].update(status="sending"), "'out 1' ended as sending"),
        (lambda b, f: f.ours[1].update(status="queued"), "'out 1' ended as queued"),
        (lambda b, f: f.inbox["out 0"].add("W7"), "'out 0' was sent 2 times"),
        (lambda b, f: f.inbox["out 1"].add("W7"), "'out 1' was sent 2 times"),
        (lambda b, f: f.accepted.discard("W0"), "'out 0' is told as delivered, and WhatsApp has not got it"),
        (
            lambda b, f: f.inbox.update({"out 2": {"W2"}}),
            "'out 2' is told as failed, and WhatsApp has got it",
        ),
        (lambda b, f: f.posted.discard(2), "1 committed events did not reach the webhook"),
        (lambda b, f: f.came.clear(), "'in 1' was lost though its worker was not killed then"),
        (lambda b, f: f.came.update(P1="undecryptable"), "'in 1' was not decrypted"),
        (lambda b, f: (f.came.clear(), f.taken.clear()), "'in 1' was lost though"),
        (lambda b, f: b.faults.append("seen on the way"), "seen on the way"),
    ],
)
def test_what_is_broken_is_named(spoil: Callable[[Books, Found], object], fault: str) -> None:
    [named] = judged(spoil).faults
    assert named.startswith(fault)


@pytest.mark.parametrize(
    ("victim", "number", "at", "excused"),
    [
        ("group", None, 89.0, False),
        ("group", None, 91.0, True),
        ("group", None, 100.9, True),
        ("group", None, 102.0, False),
        ("worker", OURS, 100.9, True),
        ("worker", OTHER, 100.9, False),
        ("worker", OURS, 102.0, False),
        ("main", None, 91.0, False),
        ("main", None, 100.9, False),
        ("fork server", None, 100.9, False),
        ("nobody", None, 100.9, False),
    ],
)
def test_only_what_a_killed_worker_had_in_hand_may_be_lost(
    victim: Victim, number: str | None, at: float, excused: bool
) -> None:
    books, found = record("main")
    books.kills = [Kill(victim, at, number)]
    found.came.clear()
    report = judge(books, found)
    assert report.lost == ["in 1"]
    assert (report.faults == []) is excused
