"""WhatsApp's binary XML: `encode` and `decode` a node.

A node is a list of 1 + 2*attributes + (1 with content) values. Token tables: whatsmeow
`binary/token/token.go`, kept as facts in `tokens.json` (dictionary version 3).
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from loopback.nodes import DOMAINS, JID, Content, Node

_TOKENS = json.loads((Path(__file__).parent / "tokens.json").read_text())
SINGLE: list[str] = _TOKENS["single"]
DOUBLE: list[list[str]] = _TOKENS["double"]

LIST_EMPTY, DICT0, INTEROP_JID, FB_JID, AD_JID = 0, 236, 245, 246, 247
LIST8, LIST16, JID_PAIR, HEX8, BIN8, BIN20, BIN32, NIBBLE8 = 248, 249, 250, 251, 252, 253, 254, 255
_SERVERS = {v: k for k, v in DOMAINS.items()}
_NIBBLES, _HEX = frozenset("0123456789-."), frozenset("0123456789ABCDEF")
_TO_HEX, _FROM_HEX = str.maketrans("-.", "ab"), str.maketrans("abcdef", "-.????")
_PACKED_LIMIT = 127

_TOKEN_BYTES = {t: bytes((i,)) for i, t in enumerate(SINGLE) if t}
for _row, _words in enumerate(DOUBLE):
    for _index, _word in enumerate(_words):
        _TOKEN_BYTES.setdefault(_word, bytes((DICT0 + _row, _index)))


def encode(node: Node) -> bytes:
    """One frame's payload: a flag byte (0, not compressed), then the node."""
    out = bytearray(b"\0")
    _write_node(out, node)
    return bytes(out)


def decode(frame: bytes) -> Node:
    """Read one decrypted frame. Raises ValueError, IndexError or zlib.error when it is malformed."""
    body = zlib.decompress(frame[1:]) if frame[0] & 2 else frame[1:]
    return _Reader(body).node()


def _write_size(out: bytearray, size: int) -> None:
    if size < 1 << 8:
        out += bytes((BIN8, size))
    elif size < 1 << 20:
        out += bytes((BIN20,)) + size.to_bytes(3, "big")
    else:
        out += bytes((BIN32,)) + size.to_bytes(4, "big")


def _write_list(out: bytearray, size: int) -> None:
    if size == 0:
        out.append(LIST_EMPTY)
    elif size < 1 << 8:
        out += bytes((LIST8, size))
    else:
        out += bytes((LIST16,)) + size.to_bytes(2, "big")


def _write_packed(out: bytearray, text: str, tag: int) -> None:
    """Two digits a byte; both alphabets are hexadecimal after a translation, `f` fills up an odd end."""
    odd = len(text) % 2
    digits = text.translate(_TO_HEX if tag == NIBBLE8 else {}) + "f" * odd
    out += bytes((tag, len(digits) // 2 | (128 if odd else 0)))
    out += bytes.fromhex(digits)


def _write_string(out: bytearray, text: str) -> None:
    if (token := _TOKEN_BYTES.get(text)) is not None:
        out += token
    elif 0 < len(text) <= _PACKED_LIMIT and _NIBBLES.issuperset(text):
        _write_packed(out, text, NIBBLE8)
    elif 0 < len(text) <= _PACKED_LIMIT and _HEX.issuperset(text):
        _write_packed(out, text, HEX8)
    else:
        raw = text.encode()
        _write_size(out, len(raw))
        out += raw


def _write_jid(out: bytearray, jid: JID) -> None:
    if jid.device or jid.server in ("hosted", "hosted.lid"):
        out += bytes((AD_JID, DOMAINS[jid.server], jid.device))
        _write_string(out, jid.user)
        return
    out.append(JID_PAIR)
    if jid.user:
        _write_string(out, jid.user)
    else:
        out.append(LIST_EMPTY)
    _write_string(out, jid.server)


def _write_node(out: bytearray, node: Node) -> None:
    attrs = [(k, v) for k, v in node.attrs.items() if v != ""]
    _write_list(out, 1 + 2 * len(attrs) + (node.content is not None))
    _write_string(out, node.tag)
    for key, value in attrs:
        _write_string(out, key)
        if isinstance(value, JID):
            _write_jid(out, value)
        else:
            _write_string(out, value)
    if isinstance(node.content, list):
        _write_list(out, len(node.content))
        for child in node.content:
            _write_node(out, child)
    elif isinstance(node.content, bytes):
        # Clients read keys and refs as raw bytes: content never becomes a token.
        _write_size(out, len(node.content))
        out += node.content
    elif node.content is not None:
        _write_string(out, node.content)


class _Reader:
    """A cursor over one node's bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.pos = data, 0

    def byte(self) -> int:
        self.pos += 1
        return self.data[self.pos - 1]

    def take(self, size: int) -> bytes:
        chunk = self.data[self.pos : self.pos + size]
        if len(chunk) != size:
            raise ValueError("unexpected end of node")
        self.pos += size
        return chunk

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def list_size(self, tag: int) -> int:
        if tag == LIST_EMPTY:
            return 0
        if tag in (LIST8, LIST16):
            return self.uint(1 if tag == LIST8 else 2)
        raise ValueError(f"list expected, found {tag}")

    def packed(self, tag: int) -> str:
        head = self.byte()
        digits = self.take(head & 127).hex()
        text = digits.translate(_FROM_HEX) if tag == NIBBLE8 else digits.upper()
        return text[:-1] if head & 128 else text

    def blob(self, tag: int) -> bytes:
        if tag == BIN8:
            return self.take(self.byte())
        return self.take(self.uint(3) & 0xFFFFF if tag == BIN20 else self.uint(4))

    def jid(self, tag: int) -> JID:
        if tag == JID_PAIR:
            return JID.of(self.text(), self.text())
        if tag == AD_JID:
            domain, device = self.take(2)
            return JID.of(self.text(), _SERVERS.get(domain, "s.whatsapp.net"), device)
        user, device = self.text(), self.uint(2)
        if tag == INTEROP_JID:
            self.uint(2)
        return JID.of(user, self.text(), device)

    def text(self) -> str:
        tag = self.byte()
        if tag == LIST_EMPTY:
            return ""
        if tag < DICT0:
            return SINGLE[tag]
        if tag < DICT0 + 4:
            return DOUBLE[tag - DICT0][self.byte()]
        if tag in (BIN8, BIN20, BIN32):
            return self.blob(tag).decode()
        if tag in (NIBBLE8, HEX8):
            return self.packed(tag)
        if tag in (JID_PAIR, AD_JID, FB_JID, INTEROP_JID):
            return self.jid(tag)
        raise ValueError(f"text expected, found {tag}")

    def content(self) -> Content:
        tag = self.data[self.pos]
        if tag in (BIN8, BIN20, BIN32):
            self.pos += 1
            return self.blob(tag)
        if tag in (LIST8, LIST16, LIST_EMPTY):
            self.pos += 1
            return [self.node() for _ in range(self.list_size(tag))]
        return self.text()

    def node(self) -> Node:
        size = self.list_size(self.byte())
        tag = self.text()
        attrs: dict[str, str] = {}
        for _ in range((size - 1) // 2):
            key = self.text()
            attrs[key] = self.text()
        return Node(tag, attrs, None if size % 2 else self.content())
