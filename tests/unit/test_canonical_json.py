"""The bytes of a webhook body survive JavaScript's JSON.parse and JSON.stringify."""

import base64
import json
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.gateway import canonical_json
from appliance.gateway.canonical_json import encode, parse

# A busy machine is not a failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ROUNDTRIP = Path(__file__).parent / "roundtrip.js"
FUZZ_OBJECTS = int(os.environ.get("FUZZ_OBJECTS", "20000"))
BATCH = 20_000

TEXT_PIECES = (
    "Halo!", "é", "\u2028", "\u2029", "\x7f", "\x00", "\x1f", "\b", "\f", "\n", "\r", "\t", '"', "\\",
    "/", "</script>", "👍🏽", "\ud800", "\udc00", "\ud83d\ude00", "\udc00\ud800", "\ufeff", "\uffff",
    "\U0010ffff", "__proto__", "toJSON", "constructor", ":1.5", ",9007199254740993", "[1e5", '"12":',
    "0", "-0", "漢字", "مرحبا", "e\u0301",
)  # fmt: skip
KEYS = (
    "0", "1", "10", "9", "01", "-1", "1.5", "4294967294", "4294967295", "4294967296", "99999999999",
    "2147483648", "__proto__", "toJSON", "constructor", "", "\ud800", "\udc00", "\ufffd", "a", "é",
    "length", "١", "00", "1e3", "-0",
)  # fmt: skip
NUMBERS = (
    0, -1, 2**53 - 1, 2**53, -(2**53 - 1), -(2**53), 2**63, 2**64, 10**30, 999_999_999_999_999, 10**15,
    0.0, -0.0, 1.0, 1e15, 1e16, 1e20, 1e21, 1e22, 123456789012345680000.0, 1e-6, 1e-7, 1.5e-7, 1.5e300,
    5e-324, 1.7976931348623157e308, 0.1, 100.0, 1.25, -2.5, 9007199254740991.0, 9007199254740992.0,
    -9007199254740994.0, float("nan"), float("inf"), float("-inf"), 4503599627370495.5, 0.000001234,
    6.02214076e23,
)  # fmt: skip


def adversarial(dice: random.Random, depth: int = 0) -> object:
    pick = dice.random()
    if depth < 4 and pick < 0.30:
        return {adversarial_key(dice): adversarial(dice, depth + 1) for _ in range(dice.randrange(6))}
    if depth < 4 and pick < 0.45:
        return [adversarial(dice, depth + 1) for _ in range(dice.randrange(5))]
    if pick < 0.65:
        return adversarial_text(dice)
    if pick < 0.78:
        return dice.choice(NUMBERS)
    if pick < 0.86:
        return struct.unpack("<d", dice.randbytes(8))[0]
    if pick < 0.92:
        return dice.randrange(-(10 ** dice.randrange(1, 25)), 10 ** dice.randrange(1, 25))
    if pick < 0.95:
        return dice.randbytes(dice.randrange(9))
    return dice.choice((None, True, False))


def adversarial_text(dice: random.Random) -> str:
    pieces = [dice.choice(TEXT_PIECES) for _ in range(dice.randrange(4))]
    pieces.append("".join(chr(dice.randrange(0x110000)) for _ in range(dice.randrange(3))))
    dice.shuffle(pieces)
    return "".join(pieces)


def adversarial_key(dice: random.Random) -> str:
    pick = dice.random()
    if pick < 0.5:
        return dice.choice(KEYS)
    return str(dice.randrange(10 ** dice.randrange(1, 12))) if pick < 0.7 else adversarial_text(dice)


def batches(bodies: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(bodies, BATCH)):
        yield batch


def through_node(bodies: list[bytes]) -> list[bytes]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed: the round trip through V8 was not run")
    lines = b"\n".join(base64.b64encode(body) for body in bodies) + b"\n"
    ran = subprocess.run([node, str(ROUNDTRIP)], input=lines, capture_output=True, check=True, timeout=100)
    return [line if line.startswith(b"!") else base64.b64decode(line) for line in ran.stdout.splitlines()]


@pytest.mark.timeout(60 + FUZZ_OBJECTS // 1000)
def test_the_bytes_survive_v8() -> None:
    dice = random.Random(20260105)
    bodies = (encode(adversarial(dice)) for _ in range(FUZZ_OBJECTS))
    for batch in batches(bodies):
        returned = through_node(batch)
        assert len(returned) == len(batch)
        changed = [(sent, got) for sent, got in zip(batch, returned, strict=True) if sent != got]
        assert changed == []


def test_the_round_trip_can_fail() -> None:
    assert through_node([b'{"b":1.0}', b'{"2":0,"1":0}', b"{"]) == [
        b'{"b":1}',
        b'{"1":0,"2":0}',
        b"!SyntaxError",
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.sampled_from(TEXT_PIECES) | st.sampled_from(NUMBERS),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(KEYS), inner),
)  # fmt: skip


@unhurried
@given(json_values)
def test_the_quick_way_writes_what_the_careful_way_writes(value: object) -> None:
    assert encode(value) == canonical_json._encode_carefully(value)


@unhurried
@given(json_values)
def test_what_was_written_is_read_and_written_again_unchanged(value: object) -> None:
    body = encode(value)
    assert encode(parse(body)) == body


@unhurried
@given(json_values)
def test_no_integer_needs_more_than_53_bits(value: object) -> None:
    for number in integers_in(json.loads(encode(value))):
        assert abs(number) <= 2**53 - 1


def integers_in(value: object) -> Iterator[int]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from integers_in(item)
    elif isinstance(value, int):
        yield value


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ({"event": "x", "data": {"text": "Halo!"}}, '{"event":"x","data":{"text":"Halo!"}}'),
        (1.0, "1"),
        (-0.0, "0"),
        (1e21, "1e+21"),
        (1e-7, "1e-7"),
        (0.000001, "0.000001"),
        (123.456, "123.456"),
        (-1.5e-10, "-1.5e-10"),
        (float("nan"), "null"),
        (float("-inf"), "null"),
        (2**53 - 1, "9007199254740991"),
        (2**53, '"9007199254740992"'),
        (-(2**63), '"-9223372036854775808"'),
        (1e20, '"100000000000000000000"'),
        (b"\xff\xfe", '"//4="'),
        ("a/b\x7f\u2028\x1f\b\f\n\r\t", '"a/b\x7f\u2028\\u001f\\b\\f\\n\\r\\t"'),
        ("\ud800a", '"\ufffda"'),
        ("\ud83d\ude00", '"😀"'),
        ({"b": 1, "10": 2, "9": 3, "a": 4}, '{"9":3,"10":2,"b":1,"a":4}'),
        ({"b": 1, "4294967295": 2}, '{"b":1,"4294967295":2}'),
        (dict(zip(("\ud800", "x", "\udfff"), (1, 2, 3), strict=True)), '{"\ufffd":3,"x":2}'),
        ((True, False, None), "[true,false,null]"),
    ],
)  # fmt: skip
def test_form(value: object, body: str) -> None:
    assert encode(value) == body.encode()


@pytest.mark.parametrize("value", [object(), {1.5: object()}, [1.5, {2: 3}]])
def test_another_type_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_endless_nesting_is_refused() -> None:
    nested: object = 1.5
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(ValueError, match="nested"):
        encode(nested)
    with pytest.raises(ValueError, match="nested"):
        canonical_json._encode_carefully(nested)
    with pytest.raises(ValueError, match="nested"):
        parse(b"[" * 100_000)


def test_parse_keeps_the_last_value_at_the_first_place() -> None:
    value = parse(b'{"a":1,"b":2,"a":3}')
    assert value == {"a": 3, "b": 2}
    assert list(value) == ["a", "b"] if isinstance(value, dict) else False


@pytest.mark.parametrize("body", [b"", b"{", b"NaN", b"[Infinity]", b'"\xff"', b"{'a':1}", b"01"])
def test_parse_refuses(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(body)
