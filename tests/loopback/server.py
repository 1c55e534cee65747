"""`LoopbackServer`: the network on a thread and an event loop of its own, and the API that tests use.

Every public method may be called from any thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import uvloop

from loopback import memory
from loopback.conn import Connection, failure
from loopback.control import Control
from loopback.door import Door
from loopback.faults import Faults
from loopback.iq_session import remove_device, send_link_code
from loopback.ledger import Counters, Ledger
from loopback.model import Account, Group
from loopback.network import Network
from loopback.nodes import Node
from loopback.pairing import QrCode
from loopback.phone import Phone
from loopback.pki import Pki

T = TypeVar("T")
_CALL_LIMIT_S = 60
_BAN_REASON, _OUTDATED_REASON = 402, 405


class LoopbackServer:
    """A WhatsApp network in this process.

    Keys, accounts, sessions and the proxy's port are kept in a folder, so that clients find it again.
    """

    def __init__(self, state_dir: Path | str, media_host: str = "mmg.whatsapp.net") -> None:
        self._folder = Path(state_dir)
        self._net = Network(Pki(self._folder / "pki"), media_host)
        former_port = memory.load(self._net, self._folder)
        self._door = Door(self._net, former_port)
        self._control = Control(self._control_methods())
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loopback", daemon=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        self._thread.start()
        self._call(self._open())
        return self

    def stop(self) -> None:
        """Cut all connections, save the state, end the thread."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def save(self) -> None:
        """Write the state now; `stop` does it by itself."""
        self._do(self._save)

    def _save(self) -> None:
        memory.save(self._net, self._door.proxy_port, self._folder)

    async def _open(self) -> None:
        await self._door.open()
        await self._control.open()

    async def _close(self) -> None:
        self.faults.clear()
        wires = [d.wire for d in self._net.directory.devices() if d.wire]
        for wire in [*self._net.waiting, *wires]:
            wire.abort()
        await self._door.close()
        await self._control.close()
        await self._net.cancel_spawned()
        self._save()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_LIMIT_S)

    def _do(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            return action()

        return self._call(act())

    # What a client needs

    @property
    def proxy_url(self) -> str:
        """The address for the client's proxy setting."""
        return f"http://127.0.0.1:{self._door.proxy_port}"

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self._control.port}"

    @property
    def websocket_url(self) -> str:
        """For clients that take an address instead of a proxy."""
        return f"wss://127.0.0.1:{self._door.tls_port}/ws/chat"

    @property
    def noise_root(self) -> bytes:
        """The public root key, for clients that take it as a setting."""
        return self._net.pki.noise_root.public

    def client_env(self) -> dict[str, str]:
        """For the client's environment; Go reads it as it was when the process was executed."""
        return {
            "SSL_CERT_FILE": str(self._net.pki.ca_file.resolve()),
            "NEONIZE_BOT_TAG": "off",
            "LOOPBACK_PROXY": self.proxy_url,
            "LOOPBACK_CONTROL": self.control_url,
            "LOOPBACK_WEBSOCKET": self.websocket_url,
            "LOOPBACK_NOISE_ROOT": self.noise_root.hex(),
        }

    # What a test looks at

    @property
    def faults(self) -> Faults:
        return self._net.faults

    @property
    def ledger(self) -> Ledger:
        """Every message accepted from clients."""
        return self._net.ledger

    @property
    def counters(self) -> Counters:
        return self._net.counters

    @property
    def phones(self) -> dict[str, Phone]:
        return self._net.phones

    @property
    def accounts(self) -> dict[str, Account]:
        return self._net.directory.accounts

    @property
    def groups(self) -> dict[str, Group]:
        return self._net.directory.groups

    @property
    def tape(self) -> list[tuple[str, str, Node]]:
        """The last 2000 stanzas: ("in" or "out", device, stanza)."""
        return self._do(lambda: list(self._net.tape))

    @property
    def patch_errors(self) -> list[str]:
        """Filled when a connecting process could not be patched; its connection was refused."""
        return self._door.patch_errors

    def connected(self, number: str) -> int:
        """How many companions of an account are connected now."""
        return len(self._connections(number))

    def backlog(self, number: str) -> int:
        """How many stanzas the companions of an account have not acknowledged."""
        return sum(len(d.pending) for d in self.accounts[number].companions)

    # The virtual phones

    def add_account(self, number: str, push_name: str = "", *, number_hidden: bool = False) -> Account:
        """Register a number; with `number_hidden` others learn only its LID."""

        def add() -> Account:
            account = self._net.directory.add(number, push_name, number_hidden)
            self._net.phones[number] = Phone(self._net, account)
            return account

        return self._do(add)

    def on_phone(self, number: str, action: Callable[[Phone], Coroutine[Any, Any, T]]) -> T:
        """Let a phone do something: `net.on_phone("1555…", lambda p: p.send_text("1666…", "hi"))`."""
        return self._call(action(self.phones[number]))

    def scan(self, number: str, qr_text: str) -> None:
        """Let the phone of a number (registered if new) scan the QR code that a client shows.

        Raises LookupError when no connected client shows it, ValueError when the keys are not its own.
        """
        self._call(self._scan(self._account(number), QrCode.parse(qr_text)))

    def _account(self, number: str) -> Account:
        return self.accounts.get(number) or self.add_account(number)

    async def _scan(self, account: Account, code: QrCode) -> None:
        conn = next((c for c in self._net.waiting if code.ref in c.refs), None)
        if conn is None or conn.registration is None:
            raise LookupError("no connected client shows this code")
        if (conn.noise_public, conn.registration.eIdent) != (code.noise_public, code.identity_public):
            raise ValueError("the code's keys are not those of the connection")
        await conn.pair(account, code.adv_secret)

    def enter_link_code(self, number: str, code: str) -> None:
        """Let the phone of a number link a client by the code it shows. LookupError when none does."""
        self._call(self._enter(self._account(number), code))

    async def _enter(self, account: Account, code: str) -> None:
        asked = (c for c in self._net.waiting if c.companion_hello)
        conn = next((c for c in asked if c.companion_hello and c.companion_hello[0] == account.number), None)
        if conn is None:
            raise LookupError("no client asked for a link code for this number")
        await send_link_code(conn, account, code)

    def unlink(self, number: str, device: int | None = None) -> None:
        """Remove a companion (all if None) from the phone's list of linked devices: it gets logged out."""
        for companion in self.accounts[number].companions:
            if device in (None, companion.id):
                self._call(remove_device(self._net, companion))

    # Trouble

    def drop(self, number: str) -> None:
        """Cut the TCP connections of an account's clients, without a close frame."""
        for conn in self._connections(number):
            self._do(conn.abort)

    def drop_waiting(self) -> None:
        """Close the connections that show a QR code."""
        for conn in list(self._net.waiting):
            self._call(conn.close())

    def refuse_connections(self) -> None:
        """Stop listening on the proxy port until `accept_connections`; open connections live on."""
        self._call(self._door.bar())

    def accept_connections(self) -> None:
        self._call(self._door.unbar())

    def stream_error(self, number: str, code: str | None = None, conflict: str | None = None) -> None:
        """For example `"503"`, or conflict `"replaced"`, or `"401", "device_removed"`."""
        for conn in self._connections(number):
            self._call(conn.close(code, conflict))

    def ban(self, number: str, code: int = 101, expire_s: int = 3600) -> None:
        """A temporary ban, now and (as `faults.login_failure`) at every login."""
        self.faults.ban_code, self.faults.ban_expire_s = code, expire_s
        self._fail(number, _BAN_REASON)

    def outdate(self, number: str) -> None:
        """Tell the clients that their version is too old, now and at every login."""
        self._fail(number, _OUTDATED_REASON)

    def _fail(self, number: str, reason: int) -> None:
        self.faults.login_failure = reason
        for conn in self._connections(number):
            self._call(conn.farewell(failure(self._net, reason)))

    def send_raw(self, number: str, node: Node) -> None:
        """Any stanza to the connected clients of an account."""
        for conn in self._connections(number):
            self._call(conn.send(node))

    def set_fault(self, name: str, value: Any) -> None:
        """Flip a switch of `faults` by name; AttributeError for an unknown one."""
        getattr(self.faults, name)
        setattr(self.faults, name, value)

    def _connections(self, number: str) -> list[Connection]:
        companions = self._do(lambda: list(self.accounts[number].companions))
        return [d.wire for d in companions if isinstance(d.wire, Connection)]

    # For other processes

    def _control_methods(self) -> dict[str, Callable[..., Any]]:
        return {
            "scan": self.scan,
            "enter_link_code": self.enter_link_code,
            "unlink": self.unlink,
            "drop": self.drop,
            "drop_waiting": self.drop_waiting,
            "refuse_connections": self.refuse_connections,
            "accept_connections": self.accept_connections,
            "stream_error": self.stream_error,
            "ban": self.ban,
            "outdate": self.outdate,
            "set_fault": self.set_fault,
            "save": self.save,
            "add_account": self._add,
            "send_text": self._send_text,
            "inbox": self._inbox,
            "ledger": lambda: [entry._asdict() for entry in self.ledger.entries],
            "connected": self.connected,
        }

    def _add(self, number: str, push_name: str = "") -> None:
        self.add_account(number, push_name)

    def _send_text(self, number: str, to: str, text: str) -> str:
        return self.on_phone(number, lambda p: p.send_text(to, text))

    def _inbox(self, number: str) -> list[dict[str, Any]]:
        messages = self._do(lambda: list(self.phones[number].inbox))
        return [{"id": m.id, "chat": m.chat, "kind": m.kind, "text": m.text} for m in messages]
