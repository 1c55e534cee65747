"""A client process: one session on the bare Go library, driven by JSON lines on stdin and stdout.

`python -m loopback.client_main DATABASE`, with the server's `client_env` in the environment. A line in:
`[number, method, arguments]`; lines out: `{"event": name, "data": base64}` and `{"answer": number, …}`.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import IO, Any

from loopback.gosession import GoSession, jid
from loopback.protos import e2e
from loopback.protos import neonize as pb


class Talk:
    """The way back to the parent; one line at a time."""

    def __init__(self, out: IO[str]) -> None:
        self._out, self._lock = out, threading.Lock()

    def line(self, **what: Any) -> None:
        with self._lock:
            self._out.write(json.dumps(what) + "\n")
            self._out.flush()

    def event(self, name: str, data: bytes) -> None:
        self.line(event=name, data=base64.b64encode(data).decode())


def _send(session: GoSession) -> Callable[..., Any]:
    def send(user: str, server: str, message: str) -> str:
        return session.send(jid(user, server), e2e.Message.FromString(base64.b64decode(message)))

    return send


def _upload(session: GoSession) -> Callable[..., Any]:
    def upload(kind: str, data: str) -> str:
        response = session.upload(kind, base64.b64decode(data))
        return base64.b64encode(response.SerializeToString()).decode()

    return upload


def _download(session: GoSession) -> Callable[..., Any]:
    def download(message: str) -> str:
        data = session.download(e2e.Message.FromString(base64.b64decode(message)))
        return base64.b64encode(data).decode()

    return download


def _mark_read(session: GoSession) -> Callable[..., Any]:
    def mark_read(chat: str, sender: str, message_id: str, kind: str) -> None:
        where, who = (pb.JID.FromString(base64.b64decode(raw)) for raw in (chat, sender))
        session.mark_read(where, who, message_id, kind)

    return mark_read


def methods(session: GoSession) -> dict[str, Callable[..., Any]]:
    return {
        "start": session.start,
        "stop": session.stop,
        "connected": session.connected,
        "send": _send(session),
        "upload": _upload(session),
        "download": _download(session),
        "mark_read": _mark_read(session),
        "is_on_whatsapp": session.is_on_whatsapp,
        "pair_phone": session.pair_phone,
        "create_group": session.create_group,
        "push_name": session.push_name,
        "presence": session.presence,
        "set_push_name": session.set_push_name,
        "log_out": session.log_out,
        "send_many": lambda number, count: session.send_many(jid(number), count),
    }


def _answer(talk: Talk, number: int, method: Callable[..., Any], arguments: list[Any]) -> None:
    try:
        talk.line(answer=number, result=method(*arguments))
    except Exception as error:  # noqa: BLE001 - told to the parent, whatever it is
        talk.line(answer=number, error=f"{type(error).__name__}: {error}")


def main() -> None:
    # Go prints to stdout; that noise goes to stderr, and the lines have a descriptor of their own.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    talk = Talk(out)
    level = os.environ.get("LOOPBACK_CLIENT_LOG", "WARN")
    session = GoSession(sys.argv[1], os.environ["LOOPBACK_PROXY"], talk.event, level)
    table = methods(session)
    for line in sys.stdin:
        number, name, arguments = json.loads(line)
        work = (talk, number, table[name], arguments)
        # A call may block for ever: each has its own thread, and the parent its own deadline.
        threading.Thread(target=_answer, args=work, daemon=True).start()
    os._exit(0)


if __name__ == "__main__":
    main()
