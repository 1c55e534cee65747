"""The library's calls with Python types, each with the guard it needs: an id that the library does not know
yet would end the whole process (a nil dereference)."""

import contextlib
import threading
from pathlib import Path
from typing import Any

import msgspec

from appliance.engine.base import EngineError, Sent
from appliance.engine.worker import addresses
from appliance.engine.worker.errors import engine_error
from appliance.engine.worker.library import Library
from appliance.engine.worker.protos import NEONIZE
from appliance.model.jid import PHONE

UPLOAD_KINDS = {"image": 0, "sticker": 0, "video": 1, "audio": 2, "voice": 2, "document": 3}

_CHROME = 1
_CLIENT_NAME = "Chrome (Linux)"
"""WhatsApp's server accepts only well-known browsers here (whatsmeow/pair-code.go)."""


class Me(msgspec.Struct, frozen=True):
    """The linked account's own addresses and name, as far as they are known."""

    jid: str | None
    lid: str | None
    push_name: str | None

    @property
    def phone(self) -> str | None:
        return addresses.phone_of(self.jid)


class Calls:
    """One session's calls. `ready` must be set once the library has called back for the first time.

    `lock` is held during each call but those that end the session.
    """

    def __init__(
        self, library: Library, name: bytes, lock: contextlib.AbstractContextManager[Any] | None = None
    ) -> None:
        self._library = library
        self._name = name
        self.ready = threading.Event()
        self._lock = lock or contextlib.nullcontext()

    def send(self, to: str, message: Any) -> Sent:
        """Hand a waE2E Message to WhatsApp; blocks until its server has taken it. Raises EngineError."""
        jid, raw = addresses.proto_of(to), message.SerializeToString()
        answer = self._proto(
            NEONIZE.SendMessageReturnFunction, "SendMessage", jid, len(jid), raw, len(raw)
        ).SendResponse
        return Sent(answer.ID, answer.Timestamp)

    def upload(self, data: bytes, kind: str) -> Any:
        """Encrypt and upload a file of our media kind; returns an UploadResponse. Raises EngineError."""
        return self._proto(
            NEONIZE.UploadReturnFunction, "Upload", data, len(data), UPLOAD_KINDS[kind]
        ).UploadResponse

    def download(self, source: bytes, path: Path) -> int:
        """Fetch and decrypt the one attachment of a serialised waE2E Message into `path`; its size."""
        answer = self._proto(NEONIZE.DownloadReturnFunction, "DownloadAny", source, len(source))
        draft = path.with_name(path.name + ".part")
        draft.write_bytes(answer.Binary)
        draft.replace(path)
        return len(answer.Binary)

    def pair_phone(self, phone: str) -> str:
        """A link code `ABCD-EFGH`; the session must be showing QR codes. Raises EngineError."""
        wish = NEONIZE.PairPhoneParams(
            phone=phone, showPushNotification=True, clientType=_CHROME, clientDisplayName=_CLIENT_NAME
        ).SerializeToString()
        return str(self._proto(NEONIZE.PairPhoneReturnFunction, "PairPhone", wish, len(wish)).Code)

    def registered(self, phones: list[str]) -> dict[str, str | None]:
        """For each number (digits) its JID, None when it is not on WhatsApp. Raises EngineError."""
        asked = " ".join("+" + phone for phone in phones)
        answer = self._proto(NEONIZE.IsOnWhatsAppReturnFunction, "IsOnWhatsApp", asked.encode())
        found: dict[str, str | None] = dict.fromkeys(phones)
        for entry in answer.IsOnWhatsAppResponse:
            phone = entry.Query.lstrip("+")
            if entry.IsIn and phone in found:
                found[phone] = self._canonical(addresses.text_of(entry.JID), phone)
        return found

    def me(self) -> Me:
        """Who we are; all None before linking."""
        if not self.ready.is_set():
            return Me(None, None, None)
        with self._lock:
            device = NEONIZE.Device.FromString(self._library.bytes_of("GetMe", self._name))
        return Me(addresses.text_of(device.JID), addresses.text_of(device.LID), device.PushName or None)

    def phone_jid(self, lid: str) -> str | None:
        """The phone JID that belongs to a LID, from the library's own store; None when it is not known."""
        jid = addresses.proto_of(lid)
        with contextlib.suppress(EngineError):
            answer = self._proto(NEONIZE.GetJIDFromStoreReturnFunction, "GetPNFromLID", jid, len(jid))
            return addresses.text_of(answer.Jid)
        return None

    def group_name(self, group: str) -> str | None:
        """A group's subject (asks WhatsApp's server); None when it cannot be had."""
        jid = addresses.proto_of(group)
        with contextlib.suppress(EngineError):
            answer = self._proto(NEONIZE.GetGroupInfoReturnFunction, "GetGroupInfo", jid, len(jid))
            return str(answer.GroupInfo.GroupName.Name) or None
        return None

    def poll_vote(self, event: bytes) -> list[bytes]:
        """The SHA-256 of each option that a vote chose; `event` is the whole Message event. Raises
        EngineError."""
        answer = self._proto(NEONIZE.ReturnFunctionWithError, "DecryptPollVote", event, len(event))
        return [bytes(option) for option in answer.PollVoteMessage.selectedOptions]

    def send_presence(self, state: str) -> None:
        """`available` or `unavailable`. Raises EngineError, also while our push name is not known."""
        self._plain("SendPresence", self._name, state.encode())

    def tell_delivered(self) -> None:
        """Make delivery receipts count as delivered although we never say `available`."""
        if self.ready.is_set():
            with self._lock:
                self._library.call("SetForceActiveDeliveryReceipts", self._name, True)

    def logout(self) -> None:
        """Remove this device from the account. Raises EngineError when the server did not confirm."""
        self._plain("Logout", self._name)

    def disconnect(self) -> None:
        """Close the connection. May block for ever on a dead network: only from a thread that may be lost."""
        if self.ready.is_set():
            self._library.call("Disconnect", self._name)

    def release(self) -> None:
        """Forget the session, so that its thread ends (when it can). May block like `disconnect`."""
        if self.ready.is_set():
            self._library.call("Stop", self._name)

    def _canonical(self, jid: str | None, phone: str) -> str:
        if jid is None or addresses.is_lid(jid):
            return f"{phone}@{PHONE}"
        return jid

    def _proto(self, shape: Any, call: str, *args: Any) -> Any:
        self._require_ready()
        with self._lock:
            raw = self._library.bytes_of(call, self._name, *args)
        answer = shape.FromString(raw)
        if answer.Error:
            raise engine_error(answer.Error)
        return answer

    def _plain(self, call: str, *args: Any) -> None:
        self._require_ready()
        with self._lock:
            text = self._library.text_of(call, *args)
        if text:
            raise engine_error(text)

    def _require_ready(self) -> None:
        if not self.ready.is_set():
            raise EngineError("not_connected", "the session has not begun", retryable=True)
