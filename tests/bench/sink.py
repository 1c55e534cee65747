"""A webhook receiver that costs next to nothing, in a process of its own: what is sent to `/hang…` is never
answered, everything else at once and kept."""

import asyncio
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import httpx
import msgspec
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.load import now_s
from running import free_port, until

_EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Said(msgspec.Struct):
    """The part of an event's data that a bench looks at."""

    text: str | None = None


class Envelope(msgspec.Struct):
    """A webhook body; `timestamp` ms, when the event was written."""

    event: str
    timestamp: int
    data: Said


class Taken(msgspec.Struct, array_like=True):
    """One delivery that was answered. `at_s` as `now_s` tells it."""

    at_s: float
    body: str

    def told(self) -> Envelope:
        return msgspec.json.decode(self.body, type=Envelope)


class Conversation(asyncio.Protocol):
    """One connection, kept alive; requests come one after the other."""

    def __init__(self, taken: list[Taken]) -> None:
        self._taken = taken
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        at_s = now_s()
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n") + 4) > 3:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 : head.index(b"\r", at)]) if at >= 0 else 0
            if len(self._buffer) < end + size:
                return
            body, self._buffer = self._buffer[end : end + size], self._buffer[end + size :]
            self._answer(head, body, at_s)

    def _answer(self, head: bytes, body: bytes, at_s: float) -> None:
        if head.startswith(b"get /count"):
            self._tell(str(len(self._taken)).encode())
        elif head.startswith(b"get /taken"):
            self._tell(msgspec.json.encode(self._taken))
        elif not head.startswith(b"post /hang"):
            self._taken.append(Taken(at_s, body.decode()))
            self._transport.write(_EMPTY)

    def _tell(self, body: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def serve(port: int) -> None:
    taken: list[Taken] = []
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Conversation(taken), "127.0.0.1", port, backlog=4096)
    # Whoever started us holds the other end, and is gone once it closes.
    await asyncio.to_thread(sys.stdin.read)


class Sink:
    """The handle of a receiver's process. Use it as a context manager."""

    def __init__(self) -> None:
        self._port = free_port()
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=30)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([sys.executable, __file__, str(self._port)], stdin=subprocess.PIPE)
        until("listening sink", self._listens)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._http.close()
        self._process.communicate()

    def url(self, name: str) -> str:
        """An address that is answered, or never if the name begins with `hang`."""
        return f"http://127.0.0.1:{self._port}/{name}"

    def count(self) -> int:
        return int(self._http.get("/count").text)

    def taken(self) -> list[Taken]:
        return msgspec.json.decode(self._http.get("/taken").content, type=list[Taken])

    def _listens(self) -> bool:
        try:
            return self._http.get("/count").is_success
        except httpx.TransportError:
            return False


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
