"""What the server counted: every message it accepted from a client, and connections by kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from loopback.nodes import Node


class Accepted(NamedTuple):
    """One message stanza taken from a client (not from a virtual phone)."""

    id: str
    sender: str  # the device's number JID, with its device number
    recipient: str  # as the client addressed it: a LID, a group …
    accepted_at: int  # ms since 1970
    acknowledged: bool  # false when a fault kept the positive <ack> back


@dataclass(slots=True)
class Ledger:
    """Grows for ever; `repeated` is what a crash test asserts to be empty. `taken` holds when a client last
    said that it has a message (monotonic seconds)."""

    entries: list[Accepted] = field(default_factory=list)
    taken: dict[str, float] = field(default_factory=dict)

    def ids(self, sender_number: str | None = None) -> list[str]:
        """The ids in order of acceptance, with repetitions."""
        return [e.id for e in self.entries if sender_number is None or _number(e.sender) == sender_number]

    def repeated(self) -> dict[str, int]:
        """Ids accepted more than once. whatsmeow itself repeats the same bytes after a lost connection."""
        return {i: n for i, n in Counter(e.id for e in self.entries).items() if n > 1}


def _number(jid: str) -> str:
    return jid.partition("@")[0].partition(":")[0]


@dataclass(slots=True)
class Counters:
    """Totals since the server started."""

    proxied: int = 0  # CONNECT requests let through
    refused: int = 0  # CONNECT requests refused by a fault or by lack of rights
    patched: int = 0  # processes whose Noise root was replaced
    websockets: int = 0
    logins: int = 0
    pairings: int = 0
    relayed: int = 0  # messages, of clients and phones
    uploads: int = 0
    downloads: int = 0
    unknown_iqs: list[str] = field(default_factory=list)


def describe(node: Node) -> str:
    """A stanza for the log: its tag and kind, never what people wrote."""
    kind = node.attrs.get("type") or node.attrs.get("xmlns", "")
    return f"{node.tag}/{kind}" if kind else node.tag
