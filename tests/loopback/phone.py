"""The virtual phone: a primary device with its own Signal sessions, scripted by tests."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from patience import PATIENCE_S

from loopback import groups, letters, relay
from loopback.appstate import AppState
from loopback.cipher import PhoneCipher
from loopback.letters import File, Received
from loopback.model import PHONE, Account, Device
from loopback.network import Network
from loopback.nodes import GROUP, JID, LID, Node, elem
from loopback.presence import chatstate
from loopback.protos import action, e2e
from loopback.ratchet import Undecryptable
from loopback.receipts import receipt

T = TypeVar("T")
Answers = Literal["nothing", "delivered", "read"]
_EDITED, _REVOKED = "1", "7"
_RETRY_COUNT = 2  # from the second on, whatsmeow begins a new session
_UNSAVED = ("net", "_waiters")


@dataclass(frozen=True, slots=True)
class Sent:
    """A message this phone sent, kept for devices that ask for it again."""

    chat: JID
    plain: bytes
    own_copy: bytes  # what our own companions get


class Phone:
    """`inbox` fills by itself; the coroutines are called through `LoopbackServer.on_phone`."""

    def __init__(self, net: Network, account: Account) -> None:
        self.net, self.account = net, account
        self.app_state = AppState()
        self.inbox: list[Received] = []
        self.receipts: list[Node] = []
        self.notifications: list[Node] = []
        self.undecrypted: list[str] = []  # ids of messages that no key opened
        self.repeated: list[str] = []  # ids that arrived again after they had been read
        self.retried: list[str] = []  # ids of own messages that a device asked for again
        self.answers: Answers = "delivered"  # which receipts it sends by itself
        self.answers_retries = True
        self.asks_retries = True
        self._online = True
        self._cipher = PhoneCipher(account)
        self._sent: dict[str, Sent] = {}
        self._seen: set[tuple[str, str]] = set()
        self._backlog: list[Node] = []
        self._waiters: set[asyncio.Event] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in _UNSAVED}

    def resume(self, net: Network) -> None:
        """After loading from disk: the parts that were not saved."""
        self.net, self._waiters = net, set()

    @property
    def device(self) -> Device:
        return self.account.phone

    async def send(self, _node: Node) -> bool:
        """What the server answers to a phone's own stanzas needs no handling."""
        return True

    def abort(self) -> None:
        """A phone has no TCP connection to cut."""

    # Sending

    def chat(self, to: str) -> JID:
        """A number, or a JID of any form, as the chat that messages go to. KeyError for a stranger."""
        jid = JID(to)
        if "@" not in to:
            return self.net.directory.accounts[to].lid
        account = None if jid.server == GROUP else self.net.directory.account(jid)
        return account.lid if account else jid.bare

    async def send_message(
        self, to: str, message: Any, message_id: str = "", *, edit: str = "", spoiled: bool = False
    ) -> str:
        """Encrypt for every device of the chat and for our own companions; returns the message id.

        `spoiled`: nobody can open the first copy; they ask again, and `answers_retries` decides.
        """
        message_id = message_id or "3A" + os.urandom(9).hex().upper()
        chat = self.chat(to)
        copy = e2e.Message(deviceSentMessage={"destinationJID": chat, "message": message})
        sent = Sent(chat, message.SerializeToString(), copy.SerializeToString())
        self._sent[message_id] = sent
        in_group = chat.server == GROUP
        # The sender key is handed out in its state before this message, or nobody could open it.
        people = [
            elem("to", {"jid": d.lid}, [self._cipher.seal(d, plain, spoiled=spoiled and not in_group)])
            for d, plain in self._letters(sent).items()
        ]
        shared = [self._cipher.group_seal(chat, sent.plain, spoiled=spoiled)] if in_group else []
        account = self.net.directory.account(chat)
        head = {
            "to": chat,
            "id": message_id,
            "type": letters.stanza_type(message),
            "addressing_mode": LID,
            "peer_recipient_pn": account.shown_pn if account else None,
            "edit": edit or None,
        }
        node = elem("message", head, [elem("participants", None, people), *shared])
        await relay.message(self.net, self, node)
        return message_id

    def _letters(self, sent: Sent) -> dict[Device, bytes]:
        """The plaintext for each single device: the message, our own copy, or the group's sender key."""
        directory = self.net.directory
        if (group := directory.group(sent.chat)) is not None:
            key = self._cipher.distribution(sent.chat).SerializeToString()
            targets = {d: key for a in directory.members(group) for d in a.devices.values()}
        else:
            other = directory.account(sent.chat)
            targets = dict.fromkeys(self.account.devices.values(), sent.own_copy)
            if other is not None and other is not self.account:
                targets |= dict.fromkeys(other.devices.values(), sent.plain)
        targets.pop(self.device, None)
        return targets

    async def send_text(self, to: str, body: str, *, spoiled: bool = False) -> str:
        return await self.send_message(to, letters.text(body), spoiled=spoiled)

    async def send_media(self, to: str, kind: str, data: bytes, **details: Any) -> str:
        """`kind` is one of letters.KINDS; `details` are File's other fields (caption, filename, …)."""
        file = File(kind, data, **details)
        return await self.send_message(to, letters.file_message(self.net.media, self.net.media_host, file))

    async def reply(self, quoted: Received, body: str) -> str:
        return await self.send_message(quoted.chat, letters.reply(quoted, body))

    async def mention(self, to: str, body: str, *numbers: str) -> str:
        jids = [self.net.directory.accounts[n].lid for n in numbers]
        return await self.send_message(to, letters.mention(body, jids))

    async def react(self, to: Received, emoji: str) -> str:
        return await self.send_message(to.chat, letters.reaction(to, emoji))

    async def edit(self, to: str, message_id: str, body: str) -> str:
        message = letters.edit(self.chat(to), message_id, body)
        return await self.send_message(to, message, edit=_EDITED)

    async def revoke(self, to: str, message_id: str) -> str:
        return await self.send_message(to, letters.revoke(self.chat(to), message_id), edit=_REVOKED)

    async def typing(self, to: str, state: str = "composing") -> None:
        await chatstate(self.net, self, elem("chatstate", {"to": self.chat(to)}, [elem(state)]))

    async def create_group(self, subject: str, *numbers: str) -> str:
        """Returns the group's JID."""
        others = [self.net.directory.accounts[n] for n in numbers]
        return (await groups.create(self.net, self.device, subject, others)).jid

    async def change_members(self, group: str, action_name: str, *numbers: str) -> None:
        """`action_name` is add, remove, promote or demote."""
        accounts = [self.net.directory.accounts[n] for n in numbers]
        target = self.net.directory.groups[JID(group).user]
        await groups.change_members(self.net, target, self.device, action_name, accounts)

    def download(self, received: Received) -> bytes:
        """The decrypted file of a received message (see letters.file_bytes)."""
        return letters.file_bytes(self.net.media, received)

    # Receipts

    async def send_delivered(self, received: Received) -> None:
        await self._send_receipt(received, None)

    async def send_read(self, received: Received) -> None:
        await self._send_receipt(received, "read")

    async def send_played(self, received: Received) -> None:
        await self._send_receipt(received, "played")

    async def _send_receipt(self, received: Received, kind: str | None) -> None:
        in_group = received.chat.server == GROUP
        head: dict[str, object] = {"id": received.id, "type": kind, "t": int(time.time())}
        head |= {"to": received.chat, "participant": received.sender} if in_group else {"to": received.sender}
        if received.from_me:
            head |= {"type": "sender", "recipient": None if in_group else received.chat}
        await receipt(self.net, self, elem("receipt", head))

    # Own companions

    async def greet(self, companion: Device) -> None:
        """What a phone tells a new companion: the app-state key. It then fetches all collections."""
        state = self.app_state
        if not state.actions:
            name = action.SyncActionValue(pushNameSetting={"name": self.account.name})
            state.set("critical_block", ["setting_pushName"], name, 1)
        fingerprint = {"rawID": 1, "currentIndex": 0, "deviceIndexes": [PHONE]}
        data = {"keyData": state.key_data, "timestamp": state.made_at_s, "fingerprint": fingerprint}
        share = {"keys": [{"keyID": {"keyID": state.key_id}, "keyData": data}]}
        kind = e2e.ProtocolMessage.APP_STATE_SYNC_KEY_SHARE
        message = e2e.Message(protocolMessage={"type": kind, "appStateSyncKeyShare": share})
        await self._send_to_device(companion, message.SerializeToString(), {"category": "peer"})

    async def set_app_state(self, collection: str, index: list[str], value: Any, version: int = 1) -> None:
        """For example `("regular_high", ["mute", jid], SyncActionValue(muteAction=…), 2)`."""
        self.app_state.set(collection, index, value, version)
        await self.tell_sync(collection)

    async def tell_sync(self, collection: str, besides: Device | None = None) -> None:
        head = {"name": collection, "version": self.app_state.collections[collection].version}
        for device in self.account.companions:
            if device is not besides:
                await self.net.notify(device, "server_sync", [elem("collection", head)])

    async def _send_to_device(
        self, device: Device, plain: bytes, extra: dict[str, object], count: int = 0
    ) -> None:
        head = {"to": device.lid, "id": "3A" + os.urandom(9).hex().upper(), "type": "text", **extra}
        enc = self._cipher.seal(device, plain, count=count)
        await relay.message(self.net, self, elem("message", head, [enc]))

    # Receiving

    async def switch(self, *, on: bool) -> None:
        """A phone that is off reads nothing; what came meanwhile it reads when it is on again."""
        self._online = on
        while on and self._backlog:
            self.receive(self._backlog.pop(0))

    def receive(self, node: Node) -> None:
        """Decrypts at once, so that a message stands in the inbox before its sender is acknowledged."""
        if not self._online:
            self._backlog.append(node)
            return
        if node.tag == "receipt":
            self.receipts.append(node)
            if node.attrs.get("type") == "retry" and self.answers_retries:
                self.net.spawn(self._send_again(node))
        elif node.tag == "notification":
            self.notifications.append(node)
        elif node.tag == "message":
            self._receive_message(node)
        for waiter in self._waiters:
            waiter.set()

    def _receive_message(self, node: Node) -> None:
        chat = JID(node.attrs["from"])
        sender = JID(node.attrs.get("participant", chat))
        from_me = sender.user in (self.account.lid_user, self.account.number)
        if from_me and chat.server != GROUP:
            chat = JID(node.attrs.get("recipient", chat))
        elif chat.server != GROUP:
            chat = chat.bare
        envelope = Received(
            node.attrs["id"], chat, sender, None, from_me, time.time_ns() // 10**6, node.attrs.get("edit", "")
        )
        if (sender, envelope.id) in self._seen:
            self.repeated.append(envelope.id)
        elif not self._read(envelope, node):
            return
        if self.answers != "nothing":
            self.net.spawn(self._answer(envelope))

    def _read(self, envelope: Received, node: Node) -> bool:
        """Decrypt into the inbox; False (and a request to send it again) when that is impossible."""
        device = self.net.directory.device(envelope.sender)
        try:
            opened = [
                self._cipher.open(envelope.chat, envelope.sender, device, e) for e in node.children("enc")
            ]
        except Undecryptable:
            self.undecrypted.append(envelope.id)
            if self.asks_retries:
                self.net.spawn(self._ask_again(envelope))
            return False
        self._seen.add((envelope.sender, envelope.id))
        for message in opened:
            if message.HasField("deviceSentMessage"):
                message = message.deviceSentMessage.message
            own_housekeeping = envelope.from_me and message.HasField("protocolMessage") and not envelope.edit
            if message.ListFields() and not own_housekeeping:
                envelope.message = message
                self.inbox.append(envelope)
        return True

    async def _answer(self, received: Received) -> None:
        await self.send_delivered(received)
        if self.answers == "read" and not received.from_me:
            await self.send_read(received)

    # Retries

    async def _ask_again(self, envelope: Received) -> None:
        group = envelope.chat.server == GROUP
        head: dict[str, object] = {"to": envelope.chat if group else envelope.sender, "id": envelope.id}
        head |= {"type": "retry", "participant": envelope.sender if group else None}
        if envelope.from_me and not group:
            head["recipient"] = envelope.chat
        now = int(time.time())
        retry = elem("retry", {"count": _RETRY_COUNT, "id": envelope.id, "t": now, "v": "1"})
        body = [retry, elem("registration", None, self.device.keys.registration)]
        await receipt(self.net, self, elem("receipt", head, body))

    async def _send_again(self, node: Node) -> None:
        retry, attrs = node.require("retry"), node.attrs
        device = self.net.directory.device(JID(attrs.get("participant", attrs["from"])))
        sent = self._sent.get(attrs["id"])
        if device is None or sent is None:
            return
        self.retried.append(attrs["id"])
        self._cipher.renew(device)
        plain, extra = sent.plain, {"id": attrs["id"]}
        if sent.chat.server == GROUP:
            message = e2e.Message.FromString(plain)
            message.MergeFrom(self._cipher.distribution(sent.chat))
            plain = message.SerializeToString()
            extra |= {"to": sent.chat, "participant": device.lid, "addressing_mode": LID}
        elif device.account is self.account:
            plain, extra = sent.own_copy, extra | {"recipient": sent.chat}
        await self._send_to_device(device, plain, dict(extra), int(retry.attrs.get("count", "1")))

    async def forget_sessions(self, number: str) -> None:
        """Lose the sessions with all devices of an account, as a reinstalled phone does."""
        for device in self.net.directory.accounts[number].devices.values():
            self._cipher.forget(device)

    # Waiting

    async def wait_for(
        self, what: str | Callable[[Received], bool], timeout_s: float = PATIENCE_S
    ) -> Received:
        """The first message in the inbox with this text, or that matches. Raises TimeoutError."""
        matches = (lambda m: m.text == what) if isinstance(what, str) else what
        return await self._until(lambda: next((m for m in self.inbox if matches(m)), None), timeout_s)

    async def wait_for_receipt(self, message_id: str, kind: str = "", timeout_s: float = PATIENCE_S) -> Node:
        """The first receipt of a kind ("" = delivered) for a message of ours. Raises TimeoutError."""

        def fits(node: Node) -> bool:
            listed = node.child("list")
            ids = {node.attrs["id"], *(item.attrs["id"] for item in listed or ())}
            return message_id in ids and node.attrs.get("type", "") == kind

        return await self._until(lambda: next((r for r in self.receipts if fits(r)), None), timeout_s)

    async def _until(self, find: Callable[[], T | None], timeout_s: float) -> T:
        changed = asyncio.Event()
        self._waiters.add(changed)
        try:
            async with asyncio.timeout(timeout_s):
                while (found := find()) is None:
                    await changed.wait()
                    changed.clear()
            return found
        except TimeoutError:
            seen = f"{len(self.inbox)} messages, {len(self.undecrypted)} undecrypted"
            raise TimeoutError(f"not on the phone of {self.account.number}: {seen}") from None
        finally:
            self._waiters.discard(changed)
