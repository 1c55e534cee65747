"""Reading a request: what is absent, what is wrong, and which field was meant."""

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import pytest

from appliance.api.decoding import fitted
from appliance.model.errors import FieldError, Invalid


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    chat_kinds: list[str] | None = None


class Thing(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    to: str
    device_id: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    loud: bool = False
    colour: Colour = Colour.RED
    filters: Inner | None = None
    tags: list[str] = []


def wrong(fields: dict[str, Any], **more: Any) -> dict[str, FieldError]:
    with pytest.raises(Invalid) as refused:
        fitted(fields, Thing, **more)
    return {error.field: error for error in refused.value.errors}


def test_a_right_request_is_read() -> None:
    thing = fitted({"to": "x", "deviceId": "d", "limit": 3, "filters": {"chatKinds": ["group"]}}, Thing)
    assert thing == Thing(to="x", device_id="d", limit=3, filters=Inner(["group"]))


@pytest.mark.parametrize("nothing", [None, ""])
def test_null_and_empty_text_in_optional_fields_mean_absent(nothing: Any) -> None:
    names = ("deviceId", "limit", "loud", "colour", "filters", "tags")
    assert fitted({"to": "x"} | dict.fromkeys(names, nothing), Thing) == Thing(to="x")


def test_null_in_a_needed_field_is_wrong() -> None:
    assert wrong({"to": None}).keys() == {"to"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("device_id", "deviceId"),
        ("DeviceID", "deviceId"),
        ("devicId", "deviceId"),
        ("chatId", "to"),
        ("number", "to"),
        ("session", "deviceId"),
        ("color", "colour"),
        ("somethingElse", None),
    ],
)
def test_an_unknown_field_names_the_right_one(name: str, meant: str | None) -> None:
    assert wrong({"to": "x", name: "y"})[name].suggestion == meant


def test_everything_wrong_is_named_at_once() -> None:
    found = wrong({"limt": 1, "limit": 0, "loud": "yes", "colour": "green", "filters": {"chatkinds": []}})
    assert found.keys() == {"limt", "to", "limit", "loud", "colour", "filters.chatkinds"}
    assert found["colour"].suggestion == "red, blue"
    assert found["filters.chatkinds"].suggestion == "chatKinds"


def test_the_place_within_a_field_is_named() -> None:
    assert wrong({"to": "x", "tags": ["a", 1]}).keys() == {"tags[1]"}
    assert wrong({"to": "x", "filters": {"chatKinds": [1]}}).keys() == {"filters.chatKinds[0]"}


def test_text_stands_for_numbers_only_where_there_is_nothing_but_text() -> None:
    assert fitted({"to": "x", "limit": "7", "loud": "true"}, Thing, strict=False).limit == 7
    assert wrong({"to": "x", "limit": "7"}).keys() == {"limit"}
    assert wrong({"to": "x", "limit": "many"}, strict=False).keys() == {"limit"}
