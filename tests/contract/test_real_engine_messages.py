"""Messages and receipts of every kind, over the loopback network."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from engine_harness import ANN, BEA, Bench, bench, linked_bench
from loopback.letters import Received
from loopback.phone import Phone
from loopback.protos import e2e

from appliance.engine.base import (
    ChatNamed,
    EngineError,
    MessageIn,
    OutgoingMessage,
    Quoted,
    ReceiptIn,
)
from appliance.model.device import DeviceStatus

TO_BEA = f"{BEA}@s.whatsapp.net"


async def bea(b: Bench, action: Any) -> Any:
    """Let the other person's phone do something."""
    return await asyncio.to_thread(b.net.on_phone, BEA, action)


async def test_text_both_ways_with_receipts(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        sent = await session.send(OutgoingMessage(TO_BEA, "text", "hello"))
        got: Received = await bea(b, lambda p: p.wait_for("hello"))
        assert got.id == sent.wa_id
        delivered = await b.heard.receipt("d1", sent.wa_id, "delivered")
        assert TO_BEA in {delivered.chat, delivered.chat_alt}
        await bea(b, lambda p: p.send_read(got))
        await b.heard.receipt("d1", sent.wa_id, "read")
        await bea(b, lambda p: p.send_played(got))
        await b.heard.receipt("d1", sent.wa_id, "played")
        wa_id = await bea(b, lambda p: p.send_text(ANN, "Hai 👋"))
        told = await b.heard.text("d1", "Hai 👋")
        assert (told.wa_id, told.from_me, told.push_name) == (wa_id, False, "Bea")
        assert (told.kind, told.type, told.content) == ("text", "conversation", {"conversation": "Hai 👋"})
        assert TO_BEA in {told.chat, told.chat_alt}
        assert told.sender_alt == told.chat_alt
        await bea(b, lambda p: p.wait_for_receipt(wa_id))


async def test_a_person_without_a_number_keeps_the_lid(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await asyncio.to_thread(lambda: b.net.add_account(BEA, "Bea", number_hidden=True))
        session = await b.link("d1", ANN)
        await bea(b, lambda p: p.send_text(ANN, "who am I"))
        told = await b.heard.text("d1", "who am I")
        assert told.chat.endswith("@lid")
        assert told.chat_alt is None
        sent = await session.send(OutgoingMessage(told.chat, "text", "somebody"))
        await b.heard.receipt("d1", sent.wa_id, "delivered")


async def test_what_is_typed_on_the_linked_phone_is_told_as_ours(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        await b.resume()
        await asyncio.to_thread(b.net.on_phone, ANN, lambda p: p.send_text(BEA, "typed by hand"))
        told = await b.heard.text("d1", "typed by hand")
        assert told.from_me
        assert TO_BEA in {told.chat, told.chat_alt}


async def test_what_we_send_is_not_told(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        sent = await session.send(OutgoingMessage(TO_BEA, "text", "ours"))
        await b.heard.receipt("d1", sent.wa_id, "delivered")
        assert not b.heard.of("d1", MessageIn)


async def test_replies_and_mentions_both_ways(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        question = await bea(b, lambda p: p.send_text(ANN, "when?"))
        told = await b.heard.text("d1", "when?")
        await session.send(
            OutgoingMessage(
                TO_BEA,
                "text",
                f"now @{BEA}",
                reply=Quoted(question, told.sender, "when?"),
                mentions=[TO_BEA],
            )
        )
        got: Received = await bea(b, lambda p: p.wait_for(f"now @{BEA}"))
        context = got.content.extendedTextMessage.contextInfo
        assert (context.stanzaID, context.participant) == (question, told.sender)
        assert context.quotedMessage.conversation == "when?"
        assert list(context.mentionedJID) == [TO_BEA]
        await bea(b, lambda p: p.reply(got, "good"))
        answer = await b.heard.text("d1", "good")
        assert answer.type == "extendedTextMessage"
        assert answer.reply_to is not None
        assert (answer.reply_to.message_id, answer.reply_to.text) == (got.id, f"now @{BEA}")
        assert answer.content["extendedTextMessage"]["contextInfo"]["stanzaId"] == got.id
        await bea(b, lambda p: p.mention(ANN, "hey you", ANN))
        hey = await b.heard.text("d1", "hey you")
        assert hey.mentions == [str(b.net.accounts[ANN].lid)]


async def test_a_reply_to_ourselves_names_us(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        first = await session.send(OutgoingMessage(TO_BEA, "text", "one"))
        await session.send(OutgoingMessage(TO_BEA, "text", "two", reply=Quoted(first.wa_id, None, "one")))
        got: Received = await bea(b, lambda p: p.wait_for("two"))
        assert got.content.extendedTextMessage.contextInfo.participant == f"{ANN}@s.whatsapp.net"


async def test_reactions_edits_and_deletions(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        sent = await session.send(OutgoingMessage(TO_BEA, "text", "like me"))
        got: Received = await bea(b, lambda p: p.wait_for("like me"))
        await bea(b, lambda p: p.react(got, "👍"))
        reaction = await b.heard.wait("d1", MessageIn, lambda m: m.kind == "reaction")
        assert reaction.details["reaction"] == {"messageId": sent.wa_id, "emoji": "👍"}
        assert reaction.text == "👍"
        wa_id = await bea(b, lambda p: p.send_text(ANN, "a typo"))
        await bea(b, lambda p: p.edit(ANN, wa_id, "no typo"))
        edit = await b.heard.wait("d1", MessageIn, lambda m: m.kind == "edit")
        assert (edit.type, edit.text, edit.details["edits"]) == ("protocolMessage", "no typo", wa_id)
        assert edit.content["protocolMessage"]["editedMessage"] == {"conversation": "no typo"}
        assert edit.content["protocolMessage"]["type"] == "MESSAGE_EDIT"
        await bea(b, lambda p: p.revoke(ANN, wa_id))
        gone = await b.heard.wait("d1", MessageIn, lambda m: m.kind == "delete")
        assert gone.details["edits"] == wa_id


async def test_groups_have_names_and_participants(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        group = str(await bea(b, lambda p: p.create_group("Our street", ANN)))
        await bea(b, lambda p: p.send_text(group, "hello all"))
        told = await b.heard.text("d1", "hello all")
        assert told.chat == group
        assert TO_BEA in {told.sender, told.sender_alt}
        assert (await b.heard.wait("d1", ChatNamed)) == ChatNamed(group, "Our street")
        sent = await session.send(OutgoingMessage(group, "text", "hello back"))
        await bea(b, lambda p: p.wait_for("hello back"))
        receipt = await b.heard.wait("d1", ReceiptIn, lambda r: sent.wa_id in r.wa_ids)
        assert receipt.chat == group
        assert TO_BEA in {receipt.sender, receipt.sender_alt}


async def test_a_group_we_are_not_in_refuses(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        group = str(await bea(b, lambda p: p.create_group("Others")))
        with pytest.raises(EngineError) as refused:
            await session.send(OutgoingMessage(group, "text", "let me in"))
        assert refused.value.code == "not_in_group"


async def test_an_undecryptable_message_is_told_and_then_its_content(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        await session.send(OutgoingMessage(TO_BEA, "text", "hello"))
        await bea(b, lambda p: p.wait_for("hello"))
        wa_id = await bea(b, lambda p: p.send_text(ANN, "spoiled", spoiled=True))
        first = await b.heard.wait("d1", MessageIn, lambda m: m.wa_id == wa_id)
        assert (first.kind, first.type, first.content) == ("undecryptable", "undecryptable", {})
        again = await b.heard.text("d1", "spoiled")
        assert (again.wa_id, again.update) == (wa_id, True)


CONTENTS = {
    "location": e2e.Message(
        locationMessage={"degreesLatitude": -6.2, "degreesLongitude": 106.8, "name": "Monas"}
    ),
    "contact": e2e.Message(contactMessage={"displayName": "Cici", "vcard": "BEGIN:VCARD"}),
    "poll": e2e.Message(
        pollCreationMessageV3={"name": "Lunch?", "options": [{"optionName": "yes"}, {"optionName": "no"}]}
    ),
    "button_reply": e2e.Message(
        buttonsResponseMessage={"selectedButtonID": "b1", "selectedDisplayText": "Yes please"}
    ),
    "list_reply": e2e.Message(
        listResponseMessage={"title": "Row one", "singleSelectReply": {"selectedRowID": "r1"}}
    ),
    "unknown": e2e.Message(pinInChatMessage={"type": 1}),
}
TEXTS = {
    "location": "Monas",
    "contact": "Cici",
    "poll": "Lunch?",
    "button_reply": "Yes please",
    "list_reply": "Row one",
    "unknown": None,
}


async def test_other_kinds_are_told_as_what_they_are(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        await b.resume()
        for kind, content in CONTENTS.items():
            told = await sent_by_bea(b, content)
            assert (told.kind, told.text) == (kind, TEXTS[kind])
            assert told.type in told.content
        by_kind = {m.kind: m for m in b.heard.of("d1", MessageIn)}
        assert by_kind["location"].details["location"]["latitude"] == pytest.approx(-6.2)
        assert by_kind["poll"].details["poll"]["options"] == ["yes", "no"]
        assert by_kind["list_reply"].details["selected"] == "r1"


async def test_a_vote_that_nobody_can_read_harms_nobody(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        pid = session.worker_pid
        poll = await sent_by_bea(b, e2e.Message(pollCreationMessage={"name": "Lunch?", "options": []}))
        for iv in (b"", b"short", bytes(12)):
            vote = {"encPayload": bytes(40), "encIV": iv}
            content = e2e.Message(
                pollUpdateMessage={"pollCreationMessageKey": {"ID": poll.wa_id}, "vote": vote}
            )
            told = await sent_by_bea(b, content)
            assert (told.kind, told.details["vote"]) == (
                "poll_vote",
                {"messageId": poll.wa_id, "options": []},
            )
        await session.send(OutgoingMessage(TO_BEA, "text", "alive"))
        assert session.worker_pid == pid


async def sent_by_bea(b: Bench, content: Any) -> MessageIn:
    wa_id = await bea(b, partial(Phone.send_message, to=ANN, message=content))
    return await b.heard.message("d1", wa_id)


async def test_wrappers_are_opened_and_flagged(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        await b.resume()
        inner = e2e.Message(extendedTextMessage={"text": "in the box", "contextInfo": {"isForwarded": True}})
        boxed = e2e.Message(ephemeralMessage={"message": inner})
        await bea(b, lambda p: p.send_message(ANN, boxed))
        told = await b.heard.text("d1", "in the box")
        assert told.type == "extendedTextMessage"
        assert told.details == {"ephemeral": True, "forwarded": True}
        hidden = e2e.Message(viewOnceMessageV2={"message": e2e.Message(conversation="look once")})
        await bea(b, lambda p: p.send_message(ANN, hidden))
        assert (await b.heard.text("d1", "look once")).details == {"viewOnce": True}


async def test_who_is_on_whatsapp(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        assert await session.check([BEA, "19990000000"]) == {BEA: TO_BEA, "19990000000": None}
        with pytest.raises(EngineError) as refused:
            await session.send(OutgoingMessage("19990000000@s.whatsapp.net", "text", "anybody?"))
        assert refused.value.code == "not_on_whatsapp"
        assert "9990000000" not in refused.value.text


async def test_a_restriction_is_named(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        b.net.faults.ack_error = 463
        with pytest.raises(EngineError) as refused:
            await session.send(OutgoingMessage(TO_BEA, "text", "hello stranger"))
        assert (refused.value.code, refused.value.retryable) == ("reachout_restricted", False)
        b.net.faults.ack_error = 479
        with pytest.raises(EngineError) as refused:
            await session.send(OutgoingMessage(TO_BEA, "text", "hello stranger"))
        assert (refused.value.code, refused.value.text) == ("engine_error", "server returned error 479")


async def test_what_came_while_we_were_off_comes_in_order(tmp_path: Path) -> None:
    async with linked_bench(tmp_path) as b:
        session = await b.resume()
        await session.stop()
        for n in range(30):
            await bea(b, lambda p, n=n: p.send_text(ANN, f"missed {n}"))
        await b.session("d1", linked=True).start()
        await b.heard.state("d1", DeviceStatus.CONNECTED, len(b.heard.incoming))
        await b.heard.text("d1", "missed 29")
        assert [m.text for m in b.heard.of("d1", MessageIn)] == [f"missed {n}" for n in range(30)]
