"""The words: ids, addresses, the ladder of a message, the error tree."""

import pytest

from appliance.model.errors import GatewayError, InvalidRecipient
from appliance.model.ids import is_id, new_id
from appliance.model.jid import masked, parse_jid, recipient
from appliance.model.message import MessageStatus, moves_forward


def test_ids_look_like_cuids_and_never_repeat() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert all(is_id(i) for i in ids)
    assert len(set(ids)) == len(ids)
    assert not is_id("c" + "A" * 24)


@pytest.mark.parametrize(
    ("typed", "jid"),
    [
        ("628111222333", "628111222333@s.whatsapp.net"),
        ("+62 811-1222-333", "628111222333@s.whatsapp.net"),
        ("00628111222333", "628111222333@s.whatsapp.net"),
        ("(62) 811.1222.333", "628111222333@s.whatsapp.net"),
        ("628111222333@c.us", "628111222333@s.whatsapp.net"),
        ("628111222333:12@s.whatsapp.net", "628111222333@s.whatsapp.net"),
        (" 628111222333@s.whatsapp.net ", "628111222333@s.whatsapp.net"),
        ("120363041234567890@g.us", "120363041234567890@g.us"),
        ("628111222333-1400000000@g.us", "628111222333-1400000000@g.us"),
        ("123456789012345@lid", "123456789012345@lid"),
        ("120363041234567890@newsletter", "120363041234567890@newsletter"),
        ("status@broadcast", "status@broadcast"),
    ],
)
def test_what_people_type_is_understood(typed: str, jid: str) -> None:
    assert str(recipient(typed)) == jid


def test_a_national_number_needs_a_country() -> None:
    assert str(recipient("0811-1222-333", "62")) == "628111222333@s.whatsapp.net"
    with pytest.raises(InvalidRecipient) as refusal:
        recipient("08111222333")
    assert refusal.value.errors[0].field == "to"


@pytest.mark.parametrize(
    "typed", ["", "abc", "+", "12", "62811x", "1@nowhere", "@g.us", "x@g.us", "1" * 16, "a@b@c"]
)
def test_anything_else_is_refused(typed: str) -> None:
    with pytest.raises(InvalidRecipient):
        recipient(typed)


def test_chat_kinds() -> None:
    kinds = ["1@s.whatsapp.net", "1@lid", "1@g.us", "1@newsletter", "status@broadcast"]
    assert [parse_jid(j).chat_kind for j in kinds] == ["direct", "direct", "group", "newsletter", "status"]


def test_a_masked_address_shows_four_characters() -> None:
    assert masked("628111222333@s.whatsapp.net") == "…2333@s.whatsapp.net"


def test_the_ladder_only_goes_up() -> None:
    s = MessageStatus
    assert moves_forward(s.QUEUED, s.SENT)
    assert moves_forward(s.UNCONFIRMED, s.DELIVERED)
    assert not moves_forward(s.READ, s.DELIVERED)
    assert not moves_forward(s.READ, s.READ)
    assert moves_forward(s.SENT, s.FAILED)
    assert not moves_forward(s.DELIVERED, s.FAILED)
    assert not any(moves_forward(s.FAILED, other) for other in s)


def tree(kind: type[GatewayError]) -> list[type[GatewayError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


def test_codes_are_snake_case_and_titles_are_sentences() -> None:
    for kind in tree(GatewayError):
        assert kind.code.replace("_", "").isalpha()
        assert kind.code.islower()
        assert kind.title
        assert kind.title[0].isupper()
