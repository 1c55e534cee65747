"""One WhatsApp session on the bare Go library, inside a client process."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any

from loopback.golib import EVENT_CALLBACK, LOG_CALLBACK, TEXT_CALLBACK, GoLibrary, ProxySettings
from loopback.protos import companion, e2e
from loopback.protos import neonize as pb

# Event numbers of neonize 0.5.2 (neonize/events.py) and the protobuf messages they carry.
EVENTS = {
    2: "PairStatus",
    3: "Connected",
    4: "KeepAliveTimeout",
    5: "KeepAliveRestored",
    6: "LoggedOut",
    7: "StreamReplaced",
    8: "TemporaryBan",
    9: "ConnectFailure",
    10: "ClientOutdated",
    11: "StreamError",
    12: "Disconnected",
    17: "Message",
    18: "Receipt",
    19: "ChatPresence",
    20: "Presence",
    21: "JoinedGroup",
    22: "GroupInfoEvent",
    26: "OfflineSyncPreview",
    27: "OfflineSyncCompleted",
    44: "UndecryptableMessage",
}
MEDIA_TYPES = {"image": 0, "video": 1, "audio": 2, "document": 3}
_SESSION = b"session"

Tell = Callable[[str, bytes], None]


class CallError(RuntimeError):
    """The library answered with an error text."""


def jid(user: str, server: str = "s.whatsapp.net") -> Any:
    return pb.JID(User=user, Server=server, RawAgent=0, Device=0, Integrator=0, IsEmpty=False)


class GoSession:
    """Tells events as (name, protobuf or text); names besides EVENTS: `qr`, `status`, `log`, `returned`."""

    def __init__(self, database: str, proxy: str, tell: Tell, log_level: str = "WARN") -> None:
        self._go, self._tell = GoLibrary(), tell
        self._database, self._level = database.encode(), log_level.encode()
        self._proxy = ProxySettings(proxy.encode(), False, False, False)
        self._callbacks = (
            TEXT_CALLBACK(lambda _id, text: tell("qr", ctypes.string_at(text))),
            TEXT_CALLBACK(lambda _id, text: tell("status", ctypes.string_at(text))),
            EVENT_CALLBACK(self._on_event),
            LOG_CALLBACK(self._on_log),
        )

    def start(self) -> None:
        threading.Thread(target=self._run, name="session", daemon=True).start()

    def _run(self) -> None:
        wanted = bytes(EVENTS)
        props = companion.DeviceProps(os="loopback", platformType=companion.DeviceProps.CHROME)
        raw = props.SerializeToString()
        head = (self._database, _SESSION, b"", 0, 0, self._level)
        tail = (wanted, len(wanted), raw, len(raw), b"", 0, ctypes.byref(self._proxy))
        self._tell("returned", self._go.run(*head, *self._callbacks, *tail).encode())

    def _on_event(self, _id: bytes, data: int, size: int, code: int) -> None:
        if code in EVENTS:
            self._tell(EVENTS[code], ctypes.string_at(data, size))

    def _on_log(self, data: int, size: int) -> None:
        entry = pb.LogEntry.FromString(ctypes.string_at(data, size))
        self._tell("log", f"{entry.Level} {entry.Name}: {entry.Message}".encode())

    def stop(self) -> None:
        self._go.stop(_SESSION)

    def connected(self) -> bool:
        return self._go.connected(_SESSION)

    def _reply(self, kind: str, name: str, *arguments: Any) -> Any:
        out = getattr(pb, kind).FromString(self._go.reply(name, _SESSION, *arguments))
        if getattr(out, "Error", ""):
            raise CallError(out.Error)
        return out

    def _text(self, name: str, *arguments: Any) -> None:
        if error := self._go.text(name, _SESSION, *arguments):
            raise CallError(error)

    def send(self, to: Any, message: Any) -> str:
        """Send to a Neonize JID; returns the message id. CallError when WhatsApp refuses."""
        where, raw = to.SerializeToString(), message.SerializeToString()
        out = self._reply("SendMessageReturnFunction", "SendMessage", where, len(where), raw, len(raw))
        return str(out.SendResponse.ID)

    def upload(self, kind: str, data: bytes) -> Any:
        return self._reply(
            "UploadReturnFunction", "Upload", data, len(data), MEDIA_TYPES[kind]
        ).UploadResponse

    def download(self, message: Any) -> bytes:
        raw = message.SerializeToString()
        return bytes(self._reply("DownloadReturnFunction", "DownloadAny", raw, len(raw)).Binary)

    def mark_read(self, chat: Any, sender: Any, message_id: str, kind: str = "read") -> None:
        where, who = chat.SerializeToString(), sender.SerializeToString()
        now = int(time.time())
        parts = (message_id.encode(), now, where, len(where), who, len(who), kind.encode())
        self._text("MarkRead", *parts)

    def is_on_whatsapp(self, number: str) -> bool:
        out = self._reply("IsOnWhatsAppReturnFunction", "IsOnWhatsApp", number.encode())
        return any(found.IsIn for found in out.IsOnWhatsAppResponse)

    def pair_phone(self, number: str) -> str:
        params = pb.PairPhoneParams(
            phone=number, clientDisplayName="Chrome (Linux)", clientType=1, showPushNotification=True
        )
        raw = params.SerializeToString()
        return str(self._reply("PairPhoneReturnFunction", "PairPhone", raw, len(raw)).Code)

    def create_group(self, name: str, *numbers: str) -> str:
        """Returns the group's id, without its server."""
        request = pb.ReqCreateGroup(name=name, Participants=[jid(n) for n in numbers], CreateKey="")
        raw = request.SerializeToString()
        out = self._reply("GetGroupInfoReturnFunction", "CreateGroup", raw, len(raw))
        return str(out.GroupInfo.JID.User)

    def push_name(self) -> str:
        return str(pb.Device.FromString(self._go.reply("GetMe", _SESSION)).PushName)

    def presence(self, state: str) -> None:
        self._text("SendPresence", state.encode())

    def set_push_name(self, name: str) -> None:
        self._text("SetPushName", name.encode())

    def log_out(self) -> None:
        self._text("Logout")

    def send_many(self, to: Any, count: int) -> list[float]:
        """Texts in a bare loop; returns each call's duration in seconds. The bench's reference."""
        laps = []
        for number in range(count):
            started = time.perf_counter()
            self.send(to, e2e.Message(conversation=f"text {number}"))
            laps.append(time.perf_counter() - started)
        return laps
