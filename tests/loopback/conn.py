"""One client connection: framing, Noise handshake, login or pairing, then the stanza loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import WSMsgType, web

from loopback import pairing
from loopback.ledger import describe
from loopback.model import Account, Device, KeyBundle
from loopback.network import Network
from loopback.nodes import JID, LID, PN, SERVER, Node, elem
from loopback.noise import Responder, Transport
from loopback.protos import wa6
from loopback.wabin import decode, encode

log = logging.getLogger("loopback")

# A close frame right behind a last stanza can win the race inside whatsmeow, which then never handles
# the stanza (and, after pair-success, never comes back).
_FAREWELL_S = 0.25
_UNAUTHORISED, _BANNED = 401, 402
_INTRO_HEAD = 7
_HEADER_SIZE = 4

Handle = Callable[["Connection", Node], Awaitable[None]]


class Connection:
    """A client's websocket. `device` is set once it has logged in."""

    def __init__(
        self, net: Network, ws: web.WebSocketResponse, request: web.BaseRequest, handle: Handle
    ) -> None:
        self.net, self._ws, self._request, self._handle = net, ws, request, handle
        self._transport: Transport | None = None
        self._prologue = b""
        self._order = asyncio.Lock()
        self.device: Device | None = None
        self.noise_public = b""
        self.routed = False  # the client sent the edge-routing intro
        self.registration: Any = None  # ClientPayload.DevicePairingRegistrationData of an unpaired client
        self.refs: list[str] = []
        self.pairing: tuple[Account, int] | None = None  # while pair-success is unanswered
        self.companion_hello: tuple[str, str, bytes] | None = None  # number, ref, wrapped ephemeral key
        self.link: tuple[Account, pairing.LinkCode] | None = None

    async def run(self) -> None:
        """Serve the client until either side ends the connection."""
        frames = self._frames()
        try:
            payload = await self._handshake(frames)
            if payload is None:
                return
            if self.net.faults.silent_login:
                async for _ in frames:
                    pass
                return
            if payload.HasField("devicePairingData"):
                await self._offer_pairing(payload)
            elif not await self._login(payload):
                return
            await self._serve(frames)
        except ConnectionError:
            log.debug("connection_lost")
        finally:
            self.net.forget(self)

    async def _serve(self, frames: AsyncIterator[bytes]) -> None:
        assert self._transport is not None
        async for frame in frames:
            node = decode(self._transport.open(frame))
            self.net.tape.append(("in", self.peer, node))
            if not self.net.faults.mute:
                await self._handle(self, node)

    @property
    def peer(self) -> str:
        return self.device.pn if self.device else "unpaired"

    async def _frames(self) -> AsyncIterator[bytes]:
        """3-byte length, then the payload; in front of all, an optional routing intro and the header."""
        buffer = bytearray()
        async for message in self._ws:
            if message.type is not WSMsgType.BINARY:
                continue
            buffer += message.data
            if not self._prologue:
                self._read_intro(buffer)
            while len(buffer) >= 3 and len(buffer) >= 3 + (size := int.from_bytes(buffer[:3], "big")):
                frame = bytes(buffer[3 : 3 + size])
                del buffer[: 3 + size]
                yield frame

    def _read_intro(self, buffer: bytearray) -> None:
        if buffer[:2] == b"ED":
            self.routed = True
            del buffer[: _INTRO_HEAD + int.from_bytes(buffer[4:_INTRO_HEAD], "big")]
        self._prologue = bytes(buffer[:_HEADER_SIZE])
        del buffer[:_HEADER_SIZE]

    async def _write(self, frame: bytes) -> None:
        # One whole frame per websocket message: whatsmeow mis-assembles frames that are split.
        await self._ws.send_bytes(len(frame).to_bytes(3, "big") + frame)

    async def send(self, node: Node) -> bool:
        """Send one stanza; False if the client is gone."""
        if self._ws.closed or self._transport is None or self.net.faults.mute:
            return False
        log.debug("stanza_out", extra={"stanza": describe(node)})
        self.net.tape.append(("out", self.peer, node))
        async with self._order:  # the counter nonce must follow the wire order
            try:
                await self._write(self._transport.seal(encode(node)))
            except (ConnectionError, RuntimeError):
                return False
        return True

    async def close(self, code: str | None = None, conflict: str | None = None) -> None:
        """End the stream, with a `<stream:error>` first if a code or a conflict is given."""
        if code or conflict:
            child = [elem("conflict", {"type": conflict})] if conflict else None
            await self.farewell(elem("stream:error", {"code": code}, child))
        else:
            await self._ws.close()

    async def farewell(self, last: Node) -> None:
        """Send a last stanza and close a little later."""
        await self.send(last)
        await asyncio.sleep(_FAREWELL_S)
        await self._ws.close()

    def abort(self) -> None:
        """Cut the TCP connection without any goodbye."""
        if self._request.transport:
            self._request.transport.abort()

    async def _handshake(self, frames: AsyncIterator[bytes]) -> Any:
        """Returns the ClientPayload, or None when the client went away."""
        hello = await anext(frames, None)
        if hello is None:
            return None
        pki = self.net.pki
        noise = Responder(pki.noise_static, self._prologue)
        first = wa6.HandshakeMessage.FromString(hello)
        ephemeral, static, chain = noise.hello(first.clientHello.ephemeral, pki.noise_chain)
        answer = {"ephemeral": ephemeral, "static": static, "payload": chain}
        await self._write(wa6.HandshakeMessage(serverHello=answer).SerializeToString())
        finish = await anext(frames, None)
        if finish is None:
            return None
        last = wa6.HandshakeMessage.FromString(finish).clientFinish
        self.noise_public, payload = noise.finish(last.static, last.payload)
        self._transport = noise.transport()
        return wa6.ClientPayload.FromString(payload)

    async def _offer_pairing(self, payload: Any) -> None:
        self.registration = payload.devicePairingData
        self.refs = [f"2@{secrets.token_urlsafe(48)}" for _ in range(self.net.faults.qr_refs)]
        self.net.waiting.add(self)
        refs = [elem("ref", None, ref.encode()) for ref in self.refs]
        head = {"from": SERVER, "type": "set", "id": self.net.next_id(), "xmlns": "md"}
        await self.send(elem("iq", head, [elem("pair-device", None, refs)]))

    async def pair(self, account: Account, adv_secret: bytes) -> None:
        """Send pair-success; the device exists once the client has signed it."""
        assert self.registration is not None
        number, account.next_device = account.next_device, account.next_device + 1
        self.pairing = (account, number)
        companion = self.registration.eIdent
        identity = pairing.sign_companion(account.identity, companion, adv_secret, number)
        jids = {"jid": JID.of(account.number, PN, number), "lid": JID.of(account.lid_user, LID, number)}
        body = [
            elem("device-identity", None, identity),
            elem("device", jids),
            elem("platform", {"name": "android"}),
        ]
        head = {"from": SERVER, "type": "set", "id": self.net.next_id(), "xmlns": "md", "t": int(time.time())}
        await self.send(elem("iq", head, [elem("pair-success", None, body)]))

    async def finish_pairing(self, answer: Node) -> None:
        """The client's self-signed identity: now the device is on the account's list."""
        assert self.pairing is not None
        (account, number), reg = self.pairing, self.registration
        signed = answer.child("pair-device-sign", "device-identity")
        if signed is None or not pairing.is_self_signed(account.identity, reg.eIdent, signed.data):
            log.warning("pairing_refused_by_client")
            await self.close()
            return
        keys = KeyBundle(reg.eRegid, reg.eIdent, reg.eSkeyID, reg.eSkeyVal, reg.eSkeySig)
        account.devices[number] = Device(account, number, self.noise_public, keys)
        self.pairing = None
        self.net.waiting.discard(self)
        self.net.counters.pairings += 1
        await self.net.announce_devices(account)
        await self.close("515")  # the client comes back with its new identity

    async def _login(self, payload: Any) -> bool:
        account = self.net.directory.accounts.get(str(payload.username))
        device = account.devices.get(payload.device) if account else None
        reason = self.net.faults.login_failure
        if not reason and (device is None or device.noise_public != self.noise_public):
            reason = _UNAUTHORISED
        if reason:
            await self.farewell(failure(self.net, reason))
            return False
        assert device is not None
        await self._replace(device)
        self.device, device.wire = device, self
        self.net.counters.logins += 1
        head = {"t": int(time.time()), "lid": device.lid, "location": "loop"}
        await self.send(elem("success", {**head, "display_name": device.account.name}))
        return True

    async def _replace(self, device: Device) -> None:
        """A newer connection of the same device pushes the old one out."""
        old, device.wire = device.wire, None
        if isinstance(old, Connection):
            old.device = None
            with contextlib.suppress(ConnectionError):
                await old.close(conflict="replaced")


def failure(net: Network, reason: int) -> Node:
    """The stanza that refuses a login: 401 logs out, 402 is a temporary ban, 405 an outdated client."""
    ban = {"code": net.faults.ban_code, "expire": net.faults.ban_expire_s} if reason == _BANNED else {}
    return elem("failure", {"reason": reason, "location": "loop", **ban})
