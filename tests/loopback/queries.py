"""What every answer to an info query (`<iq>`) is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from loopback.conn import Connection
from loopback.model import Account, Device
from loopback.network import Network
from loopback.nodes import Node

Reply = list[Node] | None

GET, SET = "get", "set"


class Refusal(Exception):
    """The query is answered with an error of this code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


NOT_FOUND = (404, "item-not-found")
FORBIDDEN = (403, "forbidden")


@dataclass(frozen=True, slots=True)
class Query:
    """One `<iq>` and who asks."""

    net: Network
    conn: Connection
    node: Node

    @property
    def device(self) -> Device:
        """The asking device; raises Refusal while the client is not paired."""
        if self.conn.device is None:
            raise Refusal(401, "not-authorized")
        return self.conn.device

    @property
    def account(self) -> Account:
        return self.device.account

    @property
    def kind(self) -> str:
        return self.node.attrs.get("type", "")


Answer = Callable[[Query], Awaitable[Reply]]
Table = Mapping[tuple[str, str], Answer]


def both(xmlns: str, answer: Answer) -> dict[tuple[str, str], Answer]:
    """The same answer to reading and to setting."""
    return {(xmlns, GET): answer, (xmlns, SET): answer}
