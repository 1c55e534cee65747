"""The two words of WhatsApp's stanza language: `Node` and `JID`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

PN = "s.whatsapp.net"
LID = "lid"
GROUP = "g.us"
DOMAINS = {PN: 0, LID: 1, "hosted": 128, "hosted.lid": 129}


class JID(str):
    """`user@server` or `user:device@server`: a plain str that the codec writes in the JID form.

    Attributes that clients read as JIDs must be written so, or whatsmeow takes them for missing.
    """

    __slots__ = ()

    @classmethod
    def of(cls, user: str, server: str, device: int = 0) -> JID:
        if device:
            return cls(f"{user}:{device}@{server}")
        return cls(f"{user}@{server}" if user else server)

    @property
    def server(self) -> str:
        return self.rpartition("@")[2]

    @property
    def user(self) -> str:
        return self.rpartition("@")[0].partition(":")[0]

    @property
    def device(self) -> int:
        return int(self.rpartition("@")[0].partition(":")[2] or 0)

    @property
    def bare(self) -> JID:
        """The account's JID, without the device."""
        return JID.of(self.user, self.server)

    @property
    def ad_string(self) -> str:
        """`user.agent:device@server`, the form that goes into participant hashes."""
        return f"{self.user}.{DOMAINS.get(self.server, 0)}:{self.device}@{self.server}"


SERVER = JID(PN)

Content = None | bytes | str | list["Node"]


@dataclass(slots=True)
class Node:
    """One XML-like element; its content is text, bytes, children or nothing."""

    tag: str
    attrs: dict[str, str] = field(default_factory=dict)
    content: Content = None

    def __iter__(self) -> Iterator[Node]:
        return iter(self.content if isinstance(self.content, list) else ())

    def child(self, *path: str) -> Node | None:
        """The first descendant along a path of tags, or None."""
        node: Node | None = self
        for tag in path:
            node = next((c for c in node if c.tag == tag), None) if node else None
        return node

    def require(self, *path: str) -> Node:
        """`child`, for parts that must be there; raises ValueError (a malformed stanza)."""
        node = self.child(*path)
        if node is None:
            raise ValueError(f"<{self.tag}> without {'/'.join(path)}")
        return node

    def children(self, tag: str) -> list[Node]:
        return [c for c in self if c.tag == tag]

    @property
    def data(self) -> bytes:
        """The content as bytes: Baileys writes some text contents as tokens, whatsmeow as bytes."""
        if isinstance(self.content, str):
            return self.content.encode()
        return self.content if isinstance(self.content, bytes) else b""

    def __str__(self) -> str:
        attrs = "".join(f' {k}="{v}"' for k, v in self.attrs.items())
        if self.content is None:
            return f"<{self.tag}{attrs}/>"
        if isinstance(self.content, list):
            body = "".join(map(str, self.content))
        else:
            body = f"[{len(self.data)}B]" if len(self.data) > 40 else repr(self.content)
        return f"<{self.tag}{attrs}>{body}</{self.tag}>"


def elem(
    tag: str, attrs: Mapping[str, object] | None = None, content: Content | Iterable[Node] = None
) -> Node:
    """A node from loose parts: None attributes are left out, other values become text."""
    clean = {k: v if isinstance(v, str) else str(v) for k, v in (attrs or {}).items() if v is not None}
    if content is None or isinstance(content, bytes | str | list):
        return Node(tag, clean, content)
    return Node(tag, clean, list(content))
