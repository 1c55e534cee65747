"""A reader of Server-Sent Events that works as browsers do."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
from patience import PATIENCE_S


class Told(msgspec.Struct):
    """One event: `id` is None when it carried none."""

    name: str
    data: Any
    id: int | None = None


class Reader:
    """The events of one open stream, in order; iteration ends when the server ends the stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.retry_ms: int | None = None
        self._events = self._read()

    def next(self, name: str | None = None) -> Told:
        """The next event, or the next one called `name`. Raises StopIteration at the stream's end."""
        while True:
            told = next(self._events)
            if name in {None, told.name}:
                return told

    def next_after(self, act: Callable[[], Any]) -> Told:
        """Do something, then the next event that carries an id."""
        act()
        while (told := next(self._events)).id is None:
            pass
        return told

    def rest(self) -> list[Told]:
        """Everything until the server ends the stream."""
        return list(self._events)

    def _lines(self) -> Iterator[str]:
        # Not `iter_lines`: it also splits at U+2028 and its like, which stand raw in the data.
        held = b""
        for chunk in self.answer.iter_raw():
            *lines, held = (held + chunk).split(b"\n")
            yield from (line.decode() for line in lines)

    def _read(self) -> Iterator[Told]:
        fields: dict[str, str] = {}
        for line in self._lines():
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
                continue
            if "retry" in fields:
                self.retry_ms = int(fields["retry"])
            if "data" in fields:
                number = int(fields["id"]) if "id" in fields else None
                yield Told(fields.get("event", "message"), json.loads(fields["data"]), number)
            fields = {}


@contextmanager
def following(http: httpx.Client, path: str, **headers: str) -> Iterator[Reader]:
    """The stream at `path`; it must open."""
    sent = {"Accept": "text/event-stream", **{k.replace("_", "-"): v for k, v in headers.items()}}
    with http.stream("GET", path, headers=sent, timeout=PATIENCE_S) as answer:
        if answer.status_code != 200:
            answer.read()
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Reader(answer)
