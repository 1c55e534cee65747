"""The Go library, opened by hand: only the calls that are used, with their C types, and every returned
pointer freed.

neonize's own package is not imported: its binder pulls in libmagic, Pillow and requests, and may download a
library. Signatures: goneonize/main.go of neonize 0.5.2.
"""

import ctypes
from collections.abc import Callable
from typing import Any

from appliance.engine.library_file import VERSION, LibraryError, LibraryFile

_BYTES = ctypes.c_char_p
_INT = ctypes.c_int
_POINTER = ctypes.c_void_p
_TEXT_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_EVENT_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
_LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)


class _Block(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Proxy(ctypes.Structure):
    _fields_ = (
        ("address", ctypes.c_char_p),
        ("no_websocket", ctypes.c_bool),
        ("only_login", ctypes.c_bool),
        ("no_media", ctypes.c_bool),
    )


_BLOCK = ctypes.POINTER(_Block)
_ID_ONLY = [_BYTES]
_ID_AND_BLOB = [_BYTES, _BYTES, _INT]

_ANSWERS_BYTES: dict[str, list[Any]] = {
    "SendMessage": [_BYTES, _BYTES, _INT, _BYTES, _INT],
    "Upload": [_BYTES, _BYTES, _INT, _INT],
    "DownloadAny": _ID_AND_BLOB,
    "PairPhone": _ID_AND_BLOB,
    "IsOnWhatsApp": [_BYTES, _BYTES],
    "GetMe": _ID_ONLY,
    "GetPNFromLID": _ID_AND_BLOB,
    "GetGroupInfo": _ID_AND_BLOB,
    "DecryptPollVote": _ID_AND_BLOB,
}
_ANSWERS_TEXT: dict[str, list[Any]] = {
    "Neonize": [
        *(_BYTES, _BYTES, _BYTES, _INT, _INT, _BYTES),
        *(_TEXT_CALLBACK, _TEXT_CALLBACK, _EVENT_CALLBACK, _LOG_CALLBACK),
        *(_BYTES, _INT, _BYTES, _INT, _BYTES, _INT, _POINTER),
    ],
    "Logout": _ID_ONLY,
    "SendPresence": [_BYTES, _BYTES],
}
_ANSWERS_NOTHING: dict[str, list[Any]] = {
    "Disconnect": _ID_ONLY,
    "Stop": _ID_ONLY,
    "SetForceActiveDeliveryReceipts": [_BYTES, ctypes.c_bool],
}


class Library:
    """The calls by name: `bytes_of(name, …)`, `text_of(name, …)`, `call(name, …)`; and `run`, the session
    itself."""

    def __init__(self) -> None:
        """Load the shared library; after that the process must never fork. Raises LibraryError."""
        path = LibraryFile.here().path
        try:
            self._go = ctypes.CDLL(str(path))
        except OSError as error:
            raise LibraryError(f"{path.name}: {error}") from None
        self._declare()
        if self.version != VERSION:
            raise LibraryError(f"{path.name} is version {self.version}, not {VERSION}")

    def bytes_of(self, name: str, *args: Any) -> bytes:
        """A call that answers with a block of bytes (a protobuf)."""
        block = getattr(self._go, name)(*args)
        if not block:
            return b""
        try:
            content = block.contents
            return ctypes.string_at(content.data, content.size) if content.data else b""
        finally:
            self._go.FreeBytesStruct(block)

    def text_of(self, name: str, *args: Any) -> str:
        """A call that answers with a C string: mostly its error, empty when it worked."""
        pointer = getattr(self._go, name)(*args)
        if not pointer:
            return ""
        try:
            return ctypes.string_at(pointer).decode(errors="replace")
        finally:
            self._go.FreeString(pointer)

    def call(self, name: str, *args: Any) -> None:
        """A call that answers with nothing."""
        getattr(self._go, name)(*args)

    def run(
        self,
        database: str,
        name: bytes,
        *,
        props: bytes,
        wanted: bytes,
        proxy: str | None,
        on_qr: Callable[[str], None],
        on_status: Callable[[str], None],
        on_event: Callable[[int, bytes], None],
        on_log: Callable[[bytes], None],
    ) -> str:
        """The session: blocks for its whole life (often for ever), and returns why it could not begin.

        `wanted` are the event codes, `props` a DeviceProps. The callbacks run on Go's threads, one at a time.
        """
        callbacks = (
            _TEXT_CALLBACK(lambda _name, text: on_qr(_text(text))),
            _TEXT_CALLBACK(lambda _name, text: on_status(_text(text))),
            _EVENT_CALLBACK(lambda _name, data, size, code: on_event(code, ctypes.string_at(data, size))),
            _LOG_CALLBACK(lambda data, size: on_log(ctypes.string_at(data, size))),
        )
        way_out = ctypes.byref(_Proxy(proxy.encode(), False, False, False)) if proxy else None
        return self.text_of(
            "Neonize",
            *(database.encode(), name, b"", 0, 0, b"WARN", *callbacks),
            *(wanted, len(wanted), props, len(props), b"", 0, way_out),
        )

    @property
    def version(self) -> str:
        return bytes(self._go.GetVersion()).decode()

    def _declare(self) -> None:
        for restype, calls in ((_BLOCK, _ANSWERS_BYTES), (_POINTER, _ANSWERS_TEXT), (None, _ANSWERS_NOTHING)):
            for name, argtypes in calls.items():
                function = getattr(self._go, name)
                function.argtypes, function.restype = argtypes, restype
        self._go.GetVersion.restype = ctypes.c_char_p
        self._go.FreeBytesStruct.argtypes, self._go.FreeBytesStruct.restype = [_BLOCK], None
        self._go.FreeString.argtypes, self._go.FreeString.restype = [_POINTER], None


def _text(pointer: int) -> str:
    return ctypes.string_at(pointer).decode(errors="replace")
