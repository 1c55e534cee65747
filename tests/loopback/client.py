"""A thin test client: the handle of a process that runs one session on the bare Go library.

The process gets nothing but a proxy address and SSL_CERT_FILE, as any client of the network does.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from patience import PATIENCE_S

from loopback.nodes import GROUP, PN
from loopback.protos import e2e
from loopback.protos import neonize as pb

_PACKAGE_PARENT = Path(__file__).resolve().parent.parent
_TEXT_EVENTS = ("qr", "status", "log", "returned")
_END_S = 5
_POLL_S = 0.05


class ClientError(RuntimeError):
    """The client's call failed; the text is the library's own."""


class Event(NamedTuple):
    """`value` is a Neonize protobuf of that name, or text for `qr`, `status`, `log`, `returned`."""

    at_s: float  # time.monotonic()
    name: str
    value: Any


class Client:
    """Use as a context manager; `start` begins the session."""

    def __init__(
        self, database: Path, env: Mapping[str, str], on_qr: Callable[[str], None] | None = None
    ) -> None:
        self.events: list[Event] = []
        self._on_qr = on_qr
        self._changed = threading.Condition()
        self._answers: dict[int, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        path = os.pathsep.join([str(_PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loopback.client_main", str(database)],
            env={**os.environ, **env, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="client", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> Self:
        self.call("start")
        return self

    def stop(self) -> None:
        """Disconnect, and wait until the Go call has returned."""
        self.call("stop")
        self.wait("returned")

    def kill(self) -> None:
        """End the process; the one sure way to end a session."""
        self._process.kill()
        self._process.wait(_END_S)
        self._reader.join(_END_S)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            with self._changed:
                if "answer" in said:
                    self._answers[said["answer"]] = said
                else:
                    self.events.append(_event(said["event"], base64.b64decode(said["data"])))
                self._changed.notify_all()
            if said.get("event") == "qr" and self._on_qr:
                self._on_qr(self.events[-1].value)

    def wait(
        self,
        name: str,
        match: Callable[[Any], bool] = lambda _: True,
        *,
        timeout_s: float = PATIENCE_S,
        since: int = 0,
    ) -> Any:
        """The first event of this name that matches, from position `since` (see `mark`). TimeoutError."""

        def find() -> Event | None:
            return next((e for e in self.events[since:] if e.name == name and match(e.value)), None)

        found = self._until(find, timeout_s)
        if found is None:
            logs = [e.value for e in self.events if e.name == "log"][-5:]
            seen = [e.name for e in self.events[since:]]
            raise TimeoutError(f"no {name}; saw {seen}; last logs {logs}")
        return found.value

    def wait_text(self, text: str, *, since: int = 0, timeout_s: float = PATIENCE_S) -> Any:
        """The first Message with this text."""
        return self.wait("Message", lambda m: text_of(m) == text, since=since, timeout_s=timeout_s)

    def wait_receipt(self, message_id: str, kind: str, *, timeout_s: float = PATIENCE_S) -> Any:
        """A receipt of a kind (`DELIVERED`, `READ`, `PLAYED` …) for a message."""
        wanted = pb.Receipt.ReceiptType.Value(kind)
        return self.wait(
            "Receipt", lambda r: message_id in r.MessageIDs and r.Type == wanted, timeout_s=timeout_s
        )

    def wait_synced(self, timeout_s: float = PATIENCE_S) -> str:
        """Wait until app state has brought the push name, which presence needs; returns it."""
        deadline = time.monotonic() + timeout_s
        while not (name := str(self.call("push_name"))):
            if time.monotonic() > deadline:
                raise TimeoutError("no push name through app state")
            time.sleep(_POLL_S)
        return name

    def mark(self) -> int:
        """The present end of the events, for `since`."""
        return len(self.events)

    def _until(self, find: Callable[[], Any], timeout_s: float) -> Any:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while (found := find()) is None:
                if (left := deadline - time.monotonic()) <= 0:
                    return None
                self._changed.wait(left)
            return found

    def call(self, method: str, *arguments: Any, timeout_s: float = PATIENCE_S) -> Any:
        """Any method of client_main. Raises ClientError, or TimeoutError when the call hangs."""
        number = next(self._numbers)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([number, method, arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._until(lambda: self._answers.get(number), timeout_s)
        if answer is None:
            raise TimeoutError(f"{method} has not returned after {timeout_s} s")
        if "error" in answer:
            raise ClientError(answer["error"])
        return answer["result"]

    def send(self, to: str, message: Any, *, timeout_s: float = PATIENCE_S) -> str:
        """To a number or a group JID; returns the message id."""
        user, _, server = to.partition("@")
        raw = base64.b64encode(message.SerializeToString()).decode()
        return str(self.call("send", user, server or PN, raw, timeout_s=timeout_s))

    def send_text(self, to: str, text: str, *, timeout_s: float = PATIENCE_S) -> str:
        return self.send(to, e2e.Message(conversation=text), timeout_s=timeout_s)

    def send_file(self, to: str, part_name: str, kind: str, data: bytes, **details: Any) -> str:
        """For example `("1555…", "imageMessage", "image", png, mimetype="image/png")`."""
        raw = self.call("upload", kind, base64.b64encode(data).decode())
        up = pb.UploadResponse.FromString(base64.b64decode(raw))
        part = {
            "URL": up.url,
            "directPath": up.DirectPath,
            "mediaKey": up.MediaKey,
            "fileEncSHA256": up.FileEncSHA256,
            "fileSHA256": up.FileSHA256,
            "fileLength": up.FileLength,
        }
        return self.send(to, e2e.Message(**{part_name: {**part, **details}}))

    def download(self, message: Any) -> bytes:
        """The file of a received message (`Message.Message` of the event)."""
        raw = base64.b64encode(message.SerializeToString()).decode()
        return base64.b64decode(self.call("download", raw))

    def mark_read(self, event: Any, kind: str = "read") -> None:
        source = event.Info.MessageSource
        jids = (base64.b64encode(j.SerializeToString()).decode() for j in (source.Chat, source.Sender))
        self.call("mark_read", *jids, event.Info.ID, kind)

    def create_group(self, name: str, *numbers: str) -> str:
        """Returns the group's JID."""
        return f"{self.call('create_group', name, *numbers)}@{GROUP}"


def text_of(event: Any) -> str:
    """The plain text of a Message event."""
    message = event.Message
    return str(message.conversation or message.extendedTextMessage.text)


def _event(name: str, data: bytes) -> Event:
    value = data.decode() if name in _TEXT_EVENTS else getattr(pb, name).FromString(data)
    return Event(time.monotonic(), name, value)
