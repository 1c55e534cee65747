"""What conversations show of messages that others shaped: nothing of it may break a page or pass for more."""

from typing import Any

import msgspec
import pytest

from appliance.dashboard.bubbles import Surroundings, answered_id, bubbles
from appliance.dashboard.search import excerpt
from appliance.model.message import Message

NOTHING = Surroundings([], {}, {})
CHAT = "120363000000000001@g.us"


def message(no: int, **more: Any) -> Message:
    fields: dict[str, Any] = {
        "no": no,
        "id": f"m{no}",
        "account_id": "a",
        "device_id": "d",
        "wa_id": f"W{no}",
        "chat": CHAT,
        "participant": "628111@s.whatsapp.net",
        "from_me": False,
        "kind": "text",
        "type": "conversation",
        "text": f"text {no}",
        "created_at": 1_000,
    }
    return Message(**(fields | more))


def mark(no: int, kind: str, **more: Any) -> Message:
    told = {"reaction": {"messageId": "W1", "emoji": "👍"}} if kind == "reaction" else {"edits": "W1"}
    return message(no, kind=kind, details=msgspec.json.encode(told), **more)


@pytest.mark.parametrize("strange", [None, 7, "x", [], {}, [{}], [7], {"name": 7}, {"messageId": []}, True])
@pytest.mark.parametrize(
    "key", ["replyTo", "reaction", "edits", "sender", "location", "poll", "contacts", "forwarded"]
)
def test_strange_details_break_nothing(key: str, strange: Any) -> None:
    details = msgspec.json.encode({key: strange})
    for kind in ("text", "reaction", "edit", "delete", "location", "poll", "contact", "image", "unheard of"):
        shown = bubbles([message(1, kind=kind, details=details)], NOTHING)
        assert [bubble.id for bubble in shown] == ["m1"]
        assert len(shown[0].version) == 10


@pytest.mark.parametrize("content", [b"", b"[]", b"7", b"{", b'{"imageMessage":7}', b'{"imageMessage":[]}'])
def test_strange_content_breaks_nothing(content: bytes) -> None:
    row = message(1, kind="image", type="imageMessage", content=content, via_api=True)
    assert bubbles([row], NOTHING)[0].attachment is not None
    assert answered_id(row) is None


@pytest.mark.parametrize(
    "preview", ["<svg>", "/9j/<", "iVBORw0KGgo", "/9j/" + "A" * 60_000, 7, '/9j/" onload=']
)
def test_only_a_small_jpeg_is_a_preview(preview: Any) -> None:
    def shown(thumbnail: Any) -> str | None:
        content = msgspec.json.encode({"imageMessage": {"jpegThumbnail": thumbnail}})
        found = bubbles([message(1, kind="image", type="imageMessage", content=content)], NOTHING)[0]
        assert found.attachment is not None
        return found.attachment.preview

    assert shown(preview) is None
    assert shown("/9j/4AAQ") == "/9j/4AAQ"


def test_the_last_reaction_of_each_person_counts() -> None:
    taken_back = msgspec.json.encode({"reaction": {"messageId": "W1", "emoji": ""}})
    rows = [
        message(1),
        mark(2, "reaction", participant="628222@s.whatsapp.net"),
        mark(3, "reaction", participant="628333@s.whatsapp.net"),
        mark(4, "reaction", from_me=True, participant=None),
        message(5, kind="reaction", details=taken_back, participant="628222@s.whatsapp.net"),
    ]
    (shown,) = bubbles(rows, NOTHING)
    assert [(r.emoji, r.people, r.by_us) for r in shown.reactions] == [("👍", 2, True)]


def test_a_mark_without_its_message_stands_by_itself() -> None:
    assert [bubble.kind for bubble in bubbles([mark(2, "edit"), mark(3, "delete")], NOTHING)] == [
        "edit",
        "delete",
    ]
    (edited,) = bubbles([message(1)], Surroundings([mark(2, "edit", text="new")], {}, {}))
    assert (edited.text, edited.text_before, edited.is_edited) == ("new", "text 1", True)


def test_a_number_that_others_write_counts_only_when_it_can_be_one() -> None:
    content = msgspec.json.encode({"videoMessage": {"fileLength": "9" * 40, "seconds": "x", "fileName": 5}})
    found = bubbles([message(1, kind="video", type="videoMessage", content=content)], NOTHING)[0].attachment
    assert found is not None
    assert (found.size, found.seconds, found.name) == (None, None, None)


def test_an_excerpt_is_cut_around_the_first_word_found() -> None:
    text = "a " * 300 + "Rapat besok" + " b" * 300
    shown = excerpt(text, 'tidak "rapat*')
    assert "Rapat besok" in shown
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert len(shown) < 400
