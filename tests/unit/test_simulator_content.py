"""What pretend people write has the names and value forms of WhatsApp's own messages."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.engine.base import MessageIn, PretendMessage, Quoted
from appliance.engine.simulator_content import compose
from appliance.engine.simulator_files import offered
from appliance.engine.simulator_people import Owner, envelope, hidden_lid_of, lid_of
from appliance.engine.simulator_samples import SAMPLES
from appliance.engine.worker.content import name_of
from appliance.engine.worker.protos import E2E

OWNER = Owner("999000000000", "Sandbox 00")
REPLY = Quoted("3EB0A", None, "asked")
MESSAGES = {
    "text": PretendMessage(text="Halo!"),
    "long text": PretendMessage(
        text="Halo!", reply=REPLY, mentions=("628111222333@s.whatsapp.net",), forwarded=True
    ),
    **{kind: PretendMessage(kind=kind, text="caption", reply=REPLY) for kind in SAMPLES},
    "location": PretendMessage(kind="location", latitude=-6.2, longitude=106.8, name="Monas"),
    "reaction": PretendMessage(kind="reaction", target=REPLY, emoji="👍"),
    "group reaction": PretendMessage(
        kind="reaction", target=REPLY, emoji="👍", group="120363999000000001@g.us"
    ),
    "edit": PretendMessage(kind="edit", target=REPLY, text="right"),
    "delete": PretendMessage(kind="delete", target=REPLY),
    "poll_vote": PretendMessage(kind="poll_vote", target=REPLY, options=("Yes",)),
}


def told(message: PretendMessage, folder: Path = Path("unused")) -> MessageIn:
    return compose(envelope(message, OWNER, 1_746_479_998), message, offered(message, folder))


def misnamed(content: dict[str, Any], descriptor: Any, path: str = "") -> Iterator[str]:
    """Every member of `content` that WhatsApp's protobuf does not have, or has in another form."""
    fields = {name_of(field.name): field for field in descriptor.fields}
    for name, value in content.items():
        field = fields.get(name)
        if field is None:
            yield f"{path}.{name}: unknown"
        else:
            for each in value if field.is_repeated else [value]:
                yield from _misformed(each, field, f"{path}.{name}")


def _misformed(value: Any, field: Any, path: str) -> Iterator[str]:
    if field.type == field.TYPE_MESSAGE:
        yield from misnamed(value, field.message_type, path)
    elif field.type == field.TYPE_ENUM:
        if value not in field.enum_type.values_by_name:
            yield f"{path}: no such name"
    elif field.type == field.TYPE_BYTES:
        base64.b64decode(value, validate=True)
    elif field.type in {field.TYPE_INT64, field.TYPE_UINT64} and not isinstance(value, str):
        yield f"{path}: a 64-bit number that is no string"


@pytest.mark.parametrize("name", MESSAGES)
def test_names_and_forms_are_whatsapps(name: str) -> None:
    message = told(MESSAGES[name])
    assert list(misnamed(message.content, E2E.Message.DESCRIPTOR)) == []
    assert list(message.content) == [message.type]
    assert message.type == "conversation" or message.type.endswith("Message")


def test_the_check_can_fail() -> None:
    wrong = {"imageMessage": {"URL": "x", "fileLength": 3, "contextInfo": {"stanza": "x"}}}
    assert len(list(misnamed(wrong, E2E.Message.DESCRIPTOR))) == 3


def test_the_picture_of_the_documentation_is_exact() -> None:
    message = told(PretendMessage(text="Halo!"))
    assert (message.type, message.content) == ("conversation", {"conversation": "Halo!"})


@pytest.mark.parametrize(
    ("content", "type_", "kind", "text"),
    [
        ({"conversation": "a"}, "conversation", "text", "a"),
        (
            {"messageContextInfo": {}, "extendedTextMessage": {"text": "b"}},
            "extendedTextMessage",
            "text",
            "b",
        ),
        (
            {"senderKeyDistributionMessage": {}, "imageMessage": {"caption": "c"}},
            "imageMessage",
            "image",
            "c",
        ),
        ({"audioMessage": {"ptt": True}}, "audioMessage", "voice", None),
        ({"newThing": {"text": 4}}, "newThing", "unknown", None),
        ({"messageContextInfo": {}}, "conversation", "text", None),
    ],
)
def test_raw_content_is_read_as_far_as_we_know_it(
    content: dict[str, Any], type_: str, kind: str, text: str | None
) -> None:
    message = told(PretendMessage(kind="raw", content=content))
    assert (message.type, message.kind, message.text) == (type_, kind, text)
    assert type_ in message.content


@pytest.mark.parametrize("kind", ["edit", "reaction", "carrier pigeon"])
def test_what_nobody_can_write_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="kind"):
        told(PretendMessage(kind=kind))


def test_every_person_has_one_lid_and_another_to_hide_behind() -> None:
    assert lid_of("628111222333") == lid_of("628111222333") != lid_of("628111222334")
    assert lid_of("628111222333") != hidden_lid_of("628111222333")
    assert len(lid_of("1")) == 15


BEGINNINGS = {
    "image": b"\xff\xd8\xff",
    "audio": b"\xff",
    "voice": b"OggS",
    "document": b"%PDF-1.4",
    "sticker": b"RIFF",
}


def test_samples_are_what_they_say() -> None:
    assert all(SAMPLES[kind].data.startswith(start) for kind, start in BEGINNINGS.items())
    assert SAMPLES["video"].data[4:8] == b"ftyp"
    assert b"OpusHead" in SAMPLES["voice"].data
    pdf = SAMPLES["document"].data
    table = int(pdf.rsplit(b"startxref\n", 1)[1].split()[0])
    assert pdf[table : table + 4] == b"xref"
