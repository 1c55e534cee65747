"""A webhook body never exceeds the limit, and what is left still says which message it was."""

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.gateway.body_limit import LIMIT_BYTES, fit
from appliance.gateway.canonical_json import encode

# A busy machine is not a failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

LONG = 300_000


def received(type_: str = "imageMessage", content: Any = None, **data: Any) -> dict[str, Any]:
    return {
        "event": "message.received",
        "timestamp": 1746480000000,
        "data": {
            "deviceId": "c" + "a" * 24,
            "remoteJid": "628111222333@s.whatsapp.net",
            "fromMe": False,
            "type": type_,
            "content": {type_: {"caption": "Halo"} if content is None else content},
            "timestamp": 1746479998,
            "eventId": 7,
            **data,
        },
    }


def fitted(body: dict[str, Any], limit_bytes: int = LIMIT_BYTES) -> dict[str, Any]:
    before = copy.deepcopy(body)
    encoded = fit(body, limit_bytes)
    assert body == before
    assert len(encoded) <= limit_bytes
    assert encode(json.loads(encoded)) == encoded
    data: dict[str, Any] = json.loads(encoded)["data"]
    return data


def test_what_fits_is_left_alone() -> None:
    body = received(content={"jpegThumbnail": b"x" * 1000})
    assert fit(body) == encode(body)


def test_exactly_the_limit_is_left_alone() -> None:
    body = received(text="")
    body["data"]["text"] = "x" * (LIMIT_BYTES - len(encode(body)))
    assert fit(body) == encode(body)
    body["data"]["text"] += "x"
    assert fitted(body)["truncated"] is True


def test_thumbnails_go_first() -> None:
    quoted = {"imageMessage": {"jpegThumbnail": b"q" * 1000, "caption": "earlier"}}
    context = {"quotedMessage": quoted, "externalAdReply": {"thumbnail": b"t" * 1000, "thumbnailUrl": "u"}}
    content = {"caption": "Halo", "jpegThumbnail": b"x" * LONG, "contextInfo": context}
    data = fitted(received(content=content, replyTo={"id": "m", "text": "earlier"}))
    assert data["content"]["imageMessage"] == {
        "caption": "Halo",
        "contextInfo": {
            "quotedMessage": {"imageMessage": {"caption": "earlier"}},
            "externalAdReply": {"thumbnailUrl": "u"},
        },
    }
    assert data["replyTo"] == {"id": "m", "text": "earlier"}
    assert data["truncated"] is True


def test_quotes_go_next() -> None:
    context = {"stanzaId": "ABC", "quotedMessage": {"conversation": "q" * LONG}}
    content = {"text": "t" * 50_000, "contextInfo": context}
    body = received("extendedTextMessage", content, replyTo={"id": "m", "text": "q" * LONG})
    data = fitted(body)
    assert data["content"]["extendedTextMessage"] == {
        "text": "t" * 50_000,
        "contextInfo": {"stanzaId": "ABC"},
    }
    assert data["replyTo"] == {"id": "m"}


@pytest.mark.parametrize("piece", ["x", "é", "漢", "👍🏽", '"', "\x01", "\ud800", "a\n👍"])
def test_the_longest_strings_are_cut_evenly_on_a_code_point(piece: str) -> None:
    text = piece * 70_000
    data = fitted(received("conversation", text, text=text, note="n" * 2000))
    assert data["text"] == data["content"]["conversation"]
    assert text.replace("\ud800", "\ufffd").startswith(data["text"])
    assert data["note"] == "n" * 2000
    assert len(encode(received("conversation", data["text"], text=data["text"], note="n" * 2000))) > 99_900


def test_bytes_are_cut_to_whole_base64_groups() -> None:
    content = {"streamingSidecar": b"s" * LONG, "mediaKey": b"k" * 32}
    kept = fitted(received("videoMessage", content))["content"]["videoMessage"]
    assert kept["mediaKey"] == "a2tr" * 10 + "a2s="
    assert set(kept["streamingSidecar"]) == set("c3Nz")
    assert len(kept["streamingSidecar"]) % 4 == 0


def test_links_are_never_cut() -> None:
    url = "https://gateway.example/" + "u" * 3000
    data = fitted(received("conversation", "x" * LONG, media={"url": url, "filename": "f" * LONG}))
    assert data["media"]["url"] == url


def test_a_content_of_many_small_things_is_emptied_and_the_text_kept() -> None:
    contacts = [{"vcard": "v" * 100} for _ in range(2000)]
    data = fitted(received("contactsArrayMessage", {"contacts": contacts}, text="Halo", mentions=["1@lid"]))
    assert data["content"] == {"contactsArrayMessage": {}}
    assert data["text"] == "Halo"
    assert data["mentions"] == ["1@lid"]


def test_what_stays_in_the_end_is_the_identity() -> None:
    data = fitted(received(mentions=["1@lid"] * 50_000))
    assert data == received("imageMessage", {})["data"] | {"truncated": True}


def test_a_type_too_long_to_keep_is_cut_with_its_content() -> None:
    data = fitted(received("x" * LONG + "Message"))
    assert data["content"] == {data["type"]: {}}
    assert data["deviceId"] == "c" + "a" * 24


def test_other_events_are_cut_too() -> None:
    body = {
        "event": "device.status",
        "timestamp": 1,
        "data": {"deviceId": "c", "reason": "r" * LONG, "eventId": 1},
    }
    data = fitted(body)
    assert data["deviceId"] == "c"
    assert data["eventId"] == 1
    assert len(data["reason"]) > 99_000


def test_a_limit_below_the_identity_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be told"):
        fit(received(), 100)


pieces = st.recursive(
    st.text(max_size=900) | st.binary(max_size=900) | st.integers() | st.floats() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(
            st.text(max_size=20) | st.sampled_from(["jpegThumbnail", "contextInfo", "quotedMessage", "url"]),
            inner,
            max_size=6,
        )
    ),
)


@unhurried
@given(
    st.sampled_from(["conversation", "imageMessage", "quotedMessage"]), pieces, pieces, st.integers(500, 3000)
)
def test_always_within_the_limit_and_content_always_has_its_type(
    type_: str, content: Any, more: Any, limit_bytes: int
) -> None:
    data = fitted(received(type_, content, more=more), limit_bytes)
    assert data["type"] in data["content"]
    assert data["eventId"] == 7
