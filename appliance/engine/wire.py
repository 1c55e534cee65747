"""What main and a session worker say to each other: length-prefixed msgpack frames over a socketpair.

Main → worker: Start first, then commands (each with its number `n`), Ack per event, Stop at the end.
Worker → main: Hello, Told(event), Begun before a message is handed to WhatsApp, and one Result or Failure
per command.
"""

import struct
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from appliance.engine.base import EngineError, EngineEvent, OutgoingMessage

T = TypeVar("T")
HEAD = struct.Struct(">I")
LONGEST_FRAME = 64 << 20
"""No message comes near this (thumbnails and quotes included); more means that the two lost step."""


class Start(msgspec.Struct, tag="start", frozen=True):
    """The first frame: which session to run. `folder` is the device's own directory."""

    device_id: str
    folder: str
    incarnation: int
    linked: bool
    proxy: str | None = None


class Send(msgspec.Struct, tag="send", frozen=True):
    n: int
    message: OutgoingMessage


class MakePairCode(msgspec.Struct, tag="pair_code", frozen=True):
    n: int
    phone: str


class Logout(msgspec.Struct, tag="logout", frozen=True):
    n: int


class Download(msgspec.Struct, tag="download", frozen=True):
    n: int
    source: bytes
    path: str


class Check(msgspec.Struct, tag="check", frozen=True):
    n: int
    phones: list[str]


class Ack(msgspec.Struct, tag="ack", frozen=True):
    """The event with that number is committed: the worker may forget it."""

    seq: int


class Stop(msgspec.Struct, tag="stop", frozen=True):
    """Disconnect, tell what is left, and end."""


class Hello(msgspec.Struct, tag="hello", frozen=True):
    """The worker runs; `version` is the Go library's."""

    pid: int
    version: str


class Told(msgspec.Struct, tag="told", frozen=True):
    """An event; `seq` rises from 1 within the worker's incarnation."""

    incarnation: int
    seq: int
    event: EngineEvent


class Begun(msgspec.Struct, tag="begun", frozen=True):
    """From here on the outcome of command `n` cannot be known without its Result."""

    n: int


class Result(msgspec.Struct, tag="result", frozen=True):
    """Command `n` worked; `value` is the msgpack of what it returns."""

    n: int
    value: msgspec.Raw


class Failure(msgspec.Struct, tag="failure", frozen=True, omit_defaults=True):
    """Command `n` failed: the members of EngineError."""

    n: int
    code: str
    text: str = ""
    unknown_outcome: bool = False
    retryable: bool = False
    until: int | None = None

    def error(self) -> EngineError:
        return EngineError(
            self.code,
            self.text,
            unknown_outcome=self.unknown_outcome,
            retryable=self.retryable,
            until=self.until,
        )


Request = Send | MakePairCode | Logout | Download | Check
Down = Start | Send | MakePairCode | Logout | Download | Check | Ack | Stop
Up = Hello | Told | Begun | Result | Failure

_encoder = msgspec.msgpack.Encoder()
_down: msgspec.msgpack.Decoder[Down] = msgspec.msgpack.Decoder(Down)
_up: msgspec.msgpack.Decoder[Up] = msgspec.msgpack.Decoder(Up)


def frame(message: Down | Up) -> bytes:
    """The bytes of a message on the wire. Raises what msgspec raises when an event cannot be encoded."""
    body = _encoder.encode(message)
    return HEAD.pack(len(body)) + body


def result(n: int, value: Any) -> Result:
    """The Result of command `n`."""
    return Result(n, msgspec.Raw(_encoder.encode(value)))


def value_of(got: Result, shape: type[T]) -> T:
    """What the command returned, as `shape`."""
    return msgspec.msgpack.decode(got.value, type=shape)


class FrameReader:
    """Cuts a byte stream into messages, whatever the pieces it arrives in."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def bodies(self) -> Iterator[bytes]:
        """The complete frames that have arrived. Raises ValueError when the stream makes no sense."""
        while len(self._buffer) >= HEAD.size:
            (size,) = HEAD.unpack_from(self._buffer)
            if size > LONGEST_FRAME:
                raise ValueError(f"a frame of {size} bytes")
            if len(self._buffer) < HEAD.size + size:
                return
            body = bytes(self._buffer[HEAD.size : HEAD.size + size])
            del self._buffer[: HEAD.size + size]
            yield body

    def commands(self) -> Iterator[Down]:
        """The same, read by the worker."""
        for body in self.bodies():
            yield _down.decode(body)

    def reports(self) -> Iterator[Up]:
        """The same, read by main."""
        for body in self.bodies():
            yield _up.decode(body)
