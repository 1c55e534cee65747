"""The words: ids, addresses, the ladder of a message, the error tree."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from appliance.model.errors import GatewayError, InvalidRecipient
from appliance.model.ids import is_id, new_id
from appliance.model.jid import masked, parse_jid, recipient
from appliance.model.message import MessageStatus, moves_forward

FORKING = """
import os
from appliance.model.ids import new_id
new_id()
child = os.fork()
os.write(1, f"{new_id()[10:]} ".encode())
if child:
    os.waitpid(child, 0)
"""


def test_ids_look_like_cuids_and_never_repeat() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert all(is_id(i) for i in ids)
    assert len(set(ids)) == len(ids)
    assert not is_id("c" + "A" * 24)


def test_ids_made_later_mostly_sort_later() -> None:
    first = new_id()
    made_at = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == made_at:
        pass
    assert first < new_id()


def test_threads_never_make_the_same_id() -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: [new_id() for _ in range(2_000)], range(8)))
    assert len({each for ids in made for each in ids}) == 16_000


def test_a_forked_child_makes_ids_of_its_own() -> None:
    """What its parent has in store is not used a second time."""
    said = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, check=True, text=True)
    first, second = said.stdout.split()
    assert first != second


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
