"""The compiled Go library of the neonize wheel, bound by ctypes without importing neonize.

For client processes only: a server never loads it.
"""

from __future__ import annotations

import ctypes
import platform
from typing import Any

from loopback.protos import wheel_folder

TEXT_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
EVENT_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_STRING, _SIZE = ctypes.c_char_p, ctypes.c_int
_BUFFER = [_STRING, _SIZE]


class _Bytes(ctypes.Structure):
    """`struct BytesReturn`: a buffer that Go allocated."""

    _fields_ = [("ptr", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class ProxySettings(ctypes.Structure):
    """`struct ProxySettings` of the library."""

    _fields_ = [
        ("address", ctypes.c_char_p),
        ("no_websocket", ctypes.c_bool),
        ("only_login", ctypes.c_bool),
        ("no_media", ctypes.c_bool),
    ]


# Argument types after the session's id; a reply is a protobuf (bytes) or an error text.
_REPLY_CALLS: dict[str, list[Any]] = {
    "SendMessage": [*_BUFFER, *_BUFFER],
    "Upload": [*_BUFFER, _SIZE],
    "DownloadAny": [*_BUFFER],
    "IsOnWhatsApp": [_STRING],
    "PairPhone": [*_BUFFER],
    "CreateGroup": [*_BUFFER],
    "GetGroupInfo": [*_BUFFER],
    "GetJoinedGroups": [],
    "GetMe": [],
}
_TEXT_CALLS: dict[str, list[Any]] = {
    "MarkRead": [_STRING, _SIZE, *_BUFFER, *_BUFFER, _STRING],
    "SendPresence": [_STRING],
    "SetPushName": [_STRING],
    "Logout": [],
}
_ID = [_STRING]


class GoLibrary:
    """Calls into the library; each blocks its thread until Go answers."""

    def __init__(self) -> None:
        machine = _ARCHITECTURES[platform.machine()]
        self._lib = ctypes.CDLL(str(wheel_folder() / f"neonize-linux-{machine}.so"))
        self._free_bytes = self._declare("FreeBytesStruct", [ctypes.POINTER(_Bytes)], None)
        self._free_string = self._declare("FreeString", [ctypes.c_void_p], None)
        self._reply = {
            name: self._declare(name, _ID + args, ctypes.POINTER(_Bytes))
            for name, args in _REPLY_CALLS.items()
        }
        self._text = {
            name: self._declare(name, _ID + args, ctypes.c_void_p) for name, args in _TEXT_CALLS.items()
        }
        self._stop = self._declare("Stop", _ID, None)
        self._connected = self._declare("IsConnected", _ID, ctypes.c_bool)
        callbacks = [TEXT_CALLBACK, TEXT_CALLBACK, EVENT_CALLBACK, LOG_CALLBACK]
        head = [_STRING, _STRING, *_BUFFER, _SIZE, _STRING]
        tail = [*_BUFFER, *_BUFFER, *_BUFFER, ctypes.POINTER(ProxySettings)]
        self._run = self._declare("Neonize", [*head, *callbacks, *tail], ctypes.c_void_p)

    def _declare(self, name: str, arguments: list[Any], result: Any) -> Any:
        function = getattr(self._lib, name)
        function.argtypes, function.restype = arguments, result
        return function

    def run(self, *arguments: Any) -> str:
        """Run a session until it is stopped; returns Go's error text, "" when there is none."""
        return self._take_string(self._run(*arguments))

    def reply(self, name: str, *arguments: Any) -> bytes:
        """A call that answers with a protobuf."""
        pointer = self._reply[name](*arguments)
        if not pointer:
            return b""
        try:
            found = pointer.contents
            return ctypes.string_at(found.ptr, found.size) if found.ptr and found.size else b""
        finally:
            self._free_bytes(pointer)

    def text(self, name: str, *arguments: Any) -> str:
        """A call that answers with an error text, "" when all went well."""
        return self._take_string(self._text[name](*arguments))

    def stop(self, session: bytes) -> None:
        self._stop(session)

    def connected(self, session: bytes) -> bool:
        return bool(self._connected(session))

    def _take_string(self, pointer: int | None) -> str:
        if not pointer:
            return ""
        try:
            return ctypes.string_at(pointer).decode(errors="replace")
        finally:
            self._free_string(pointer)
