"""Messages of every kind between a client on the Go library and virtual phones, and between two clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from loopback.client import Client, text_of
from loopback.phone import Phone
from loopback.server import LoopbackServer

pytest_plugins = ["loopback.fixtures"]

A, B, C = "15550000001", "15550000002", "15550000003"
Paired = Callable[[str], Client]
FILE = bytes(range(256)) * 300


@pytest.fixture(scope="module")
def a(net: LoopbackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One linked client for all tests here; B and C are only phones."""
    net.add_account(B, "Bea")
    net.add_account(C, "Cy")
    database = tmp_path_factory.mktemp("client") / "a.db"
    with Client(database, net.client_env(), lambda code: net.scan(A, code)) as client:
        client.wait("Connected")
        client.wait_synced()
        yield client


def test_text_goes_both_ways_with_receipts(net: LoopbackServer, a: Client) -> None:
    sent = a.send_text(B, "to a phone")
    got = net.on_phone(B, lambda p: p.wait_for("to a phone"))
    assert (got.id, got.from_me) == (sent, False)
    a.wait_receipt(sent, "DELIVERED")
    net.on_phone(B, lambda p: p.send_read(got))
    a.wait_receipt(sent, "READ")
    net.on_phone(B, lambda p: p.send_played(got))
    a.wait_receipt(sent, "PLAYED")
    answer = net.on_phone(B, lambda p: p.send_text(A, "from a phone"))
    event = a.wait_text("from a phone")
    source = event.Info.MessageSource
    assert (event.Info.ID, event.Info.Pushname) == (answer, "Bea")
    assert (source.Sender.Server, source.SenderAlt.User) == ("lid", B)
    a.call("presence", "available")
    a.mark_read(event)
    net.on_phone(B, lambda p: p.wait_for_receipt(answer, "read"))


def test_receipts_follow_the_phones_answers_setting(net: LoopbackServer, a: Client) -> None:
    phone = net.phones[B]
    phone.answers = "nothing"
    silent = a.send_text(B, "no receipt")
    phone.answers = "read"
    read = a.send_text(B, "read at once")
    a.wait_receipt(read, "READ")
    phone.answers = "delivered"
    receipts = [e.value for e in a.events if e.name == "Receipt" and silent in e.value.MessageIDs]
    assert net.accounts[B].lid_user not in {r.MessageSource.Sender.User for r in receipts}
    got = net.on_phone(B, lambda p: p.wait_for("no receipt"))
    net.on_phone(B, lambda p: p.send_delivered(got))
    a.wait_receipt(silent, "DELIVERED")


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("image", "imageMessage"),
        ("video", "videoMessage"),
        ("audio", "audioMessage"),
        ("voice", "audioMessage"),
        ("document", "documentMessage"),
        ("sticker", "stickerMessage"),
    ],
)
def test_media_goes_both_ways(net: LoopbackServer, a: Client, kind: str, field: str) -> None:
    data = kind.encode() + FILE
    sent = net.on_phone(B, lambda p: p.send_media(A, kind, data))
    event = a.wait("Message", lambda m: sent == m.Info.ID)
    assert getattr(event.Message, field).PTT is True if kind == "voice" else event.Message.HasField(field)
    assert a.download(event.Message) == data
    upload = {"voice": "audio", "sticker": "image"}.get(kind, kind)
    back = a.send_file(B, field, upload, data, mimetype="application/octet-stream")
    got = net.on_phone(B, lambda p: p.wait_for(lambda m: m.id == back))
    assert got.kind == field
    assert net.phones[B].download(got) == data


def test_media_is_encrypted_at_rest_and_details_arrive(net: LoopbackServer, a: Client) -> None:
    details = {"caption": "a page", "filename": "page.pdf", "thumbnail": b"small"}
    sent = net.on_phone(B, lambda p: p.send_media(A, "document", FILE, **details))
    part = a.wait("Message", lambda m: sent == m.Info.ID).Message.documentMessage
    assert (part.fileName, part.caption, part.JPEGThumbnail) == ("page.pdf", "a page", b"small")
    once = net.on_phone(B, lambda p: p.send_media(A, "image", FILE, view_once=True))
    assert a.wait("Message", lambda m: once == m.Info.ID).IsViewOnce


def test_replies_mentions_reactions_edits_and_revokes(net: LoopbackServer, a: Client) -> None:
    asked = a.send_text(B, "a question")
    got = net.on_phone(B, lambda p: p.wait_for("a question"))
    net.on_phone(B, lambda p: p.reply(got, "an answer"))
    context = a.wait_text("an answer").Message.extendedTextMessage.contextInfo
    assert (context.stanzaID, context.quotedMessage.conversation) == (asked, "a question")
    net.on_phone(B, lambda p: p.mention(A, "hey you", A))
    mentioned = a.wait_text("hey you").Message.extendedTextMessage.contextInfo.mentionedJID
    assert list(mentioned) == [net.accounts[A].lid]
    net.on_phone(B, lambda p: p.react(got, "👍"))
    reaction = a.wait("Message", lambda m: m.Message.HasField("reactionMessage")).Message.reactionMessage
    assert (reaction.key.ID, reaction.text) == (asked, "👍")
    first = net.on_phone(B, lambda p: p.send_text(A, "frist"))
    net.on_phone(B, lambda p: p.edit(A, first, "first"))
    edited = a.wait("Message", lambda m: m.Info.Edit == "1")
    assert first in str(edited.Message)
    net.on_phone(B, lambda p: p.revoke(A, first))
    revoked = a.wait("Message", lambda m: m.Info.Edit == "7")
    assert first == revoked.Message.protocolMessage.key.ID


def test_typed_on_the_linked_phone_arrives_as_own(net: LoopbackServer, a: Client) -> None:
    net.on_phone(A, lambda p: p.send_text(B, "typed by hand"))
    own = a.wait("Message", lambda m: "typed by hand" in str(m.Message))
    assert own.Info.MessageSource.IsFromMe
    assert own.Info.MessageSource.Chat.User == net.accounts[B].lid_user
    assert net.on_phone(B, lambda p: p.wait_for("typed by hand"))
    a.send_text(B, "sent by the client")
    assert net.on_phone(A, lambda p: p.wait_for("sent by the client")).from_me


def test_hidden_number_is_a_lid_only(net: LoopbackServer, a: Client) -> None:
    hidden = "15550000009"
    net.add_account(hidden, number_hidden=True)
    net.on_phone(hidden, lambda p: p.send_text(A, "guess who"))
    source = a.wait_text("guess who").Info.MessageSource
    assert source.Sender.User == net.accounts[hidden].lid_user
    assert not source.SenderAlt.User


def test_phone_that_is_off_reads_later(net: LoopbackServer, a: Client) -> None:
    net.on_phone(B, lambda p: p.switch(on=False))
    sent = a.send_text(B, "read me later")
    assert sent not in [m.id for m in net.phones[B].inbox]
    net.on_phone(B, lambda p: p.switch(on=True))
    assert net.on_phone(B, lambda p: p.wait_for("read me later")).id == sent
    a.wait_receipt(sent, "DELIVERED")


def test_unregistered_number_is_refused(a: Client) -> None:
    assert a.call("is_on_whatsapp", B)
    assert not a.call("is_on_whatsapp", "19990000000")
    with pytest.raises(Exception, match="no LID found"):
        a.send_text("19990000000", "to nobody")


def test_groups_of_phones_and_client(net: LoopbackServer, a: Client) -> None:
    group = a.create_group("by the client", B, C)
    sent = a.send_text(group, "hello all")
    for number in (B, C):
        assert net.on_phone(number, lambda p: p.wait_for("hello all")).chat == group
    a.wait_receipt(sent, "DELIVERED")
    net.on_phone(C, lambda p: p.send_text(group, "hello from C"))
    event = a.wait_text("hello from C")
    assert event.Info.MessageSource.IsGroup
    assert event.Info.MessageSource.Sender.User == net.accounts[C].lid_user
    assert net.on_phone(B, lambda p: p.wait_for("hello from C"))
    mine = net.on_phone(B, lambda p: p.create_group("by a phone", A))
    joined = a.wait("JoinedGroup", lambda g: g.GroupInfo.JID.User == mine.partition("@")[0])
    assert joined.GroupInfo.GroupName.Name == "by a phone"
    net.on_phone(B, lambda p: p.change_members(mine, "promote", A))
    a.wait("GroupInfoEvent")


def test_long_talk_turns_the_ratchet(net: LoopbackServer, a: Client) -> None:
    for i in range(20):
        net.on_phone(B, partial(Phone.send_text, to=A, body=f"ping {i}"))
        a.wait_text(f"ping {i}")
        a.send_text(B, f"pong {i}")
    assert net.on_phone(B, lambda p: p.wait_for("pong 19"))
    assert not net.phones[B].undecrypted


def test_undecryptable_message_is_sent_again(net: LoopbackServer, a: Client) -> None:
    sent = net.on_phone(B, lambda p: p.send_text(A, "second try", spoiled=True))
    a.wait("UndecryptableMessage", lambda m: sent == m.Info.ID)
    assert sent == a.wait_text("second try").Info.ID
    assert sent in net.phones[B].retried


def test_undecryptable_group_message_is_sent_again(net: LoopbackServer, a: Client) -> None:
    group = net.on_phone(B, lambda p: p.create_group("spoiled", A))
    sent = net.on_phone(B, lambda p: p.send_text(group, "group try", spoiled=True))
    assert sent == a.wait_text("group try").Info.ID


def test_phone_that_lost_its_sessions_asks_again(net: LoopbackServer, a: Client) -> None:
    a.send_text(C, "before")
    net.on_phone(C, lambda p: p.wait_for("before"))
    net.on_phone(C, lambda p: p.send_text(A, "so that A stops sending prekey messages"))
    a.wait_text("so that A stops sending prekey messages")
    a.send_text(C, "warm")
    net.on_phone(C, lambda p: p.wait_for("warm"))
    net.on_phone(C, lambda p: p.forget_sessions(A))
    sent = a.send_text(C, "after")
    assert net.on_phone(C, lambda p: p.wait_for("after")).id == sent
    assert sent in net.phones[C].undecrypted


def test_two_clients_talk(net: LoopbackServer, a: Client, paired: Paired) -> None:
    other = paired("15550000004")
    sent = a.send_text("15550000004", "client to client")
    event = other.wait_text("client to client")
    assert sent == event.Info.ID
    a.wait("Receipt", lambda r: sent in r.MessageIDs)
    other.send_text(A, "and back")
    assert text_of(a.wait_text("and back")) == "and back"


def test_ledger_counts_what_clients_sent(net: LoopbackServer, a: Client) -> None:
    sent = a.send_text(B, "counted")
    entry = net.ledger.entries[-1]
    assert (entry.id, entry.sender.partition(":")[0], entry.acknowledged) == (sent, A, True)
    assert entry.recipient == net.accounts[B].lid
    assert net.ledger.repeated() == {}
    assert sent in net.ledger.ids(A)
    before = len(net.ledger.entries)
    net.on_phone(B, lambda p: p.send_text(A, "a phone's message is not counted"))
    assert len(net.ledger.entries) == before
