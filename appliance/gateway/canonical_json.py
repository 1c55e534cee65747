"""Writes JSON bytes that JavaScript's `JSON.parse` followed by `JSON.stringify` gives back unchanged.

Webhook receivers sign the body they re-serialised, not the one they received, so the bytes must be what V8
would print: ECMA-262 `Number::toString`, `QuoteJSONString` and `OrdinaryOwnPropertyKeys`.
"""

import base64
import json
import math
import re
from json.encoder import encode_basestring
from typing import NoReturn

import msgspec

MAX_SAFE_INTEGER = 2**53 - 1
_MAX_ARRAY_INDEX = 2**32 - 2

_ARRAY_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
# What msgspec prints differently from V8, or where V8 reorders keys: fractions and exponents, integers that
# may be too long, keys that may be array indices. Found inside a string it only costs the slower way.
# Four patterns, because each then starts with a literal and is searched ten times faster than their union.
_MAYBE_NOT_CANONICAL = (
    re.compile(rb'":-?(?:[0-9]{16}|[0-9]+[.eE])'),
    re.compile(rb",-?(?:[0-9]{16}|[0-9]+[.eE])"),
    re.compile(rb"\[-?(?:[0-9]{16}|[0-9]+[.eE])"),
    re.compile(rb'"[0-9]{1,10}":'),
)
_encode_quickly = msgspec.json.Encoder().encode


def encode(value: object) -> bytes:
    """UTF-8 JSON of `value` that is a fixed point of JavaScript's parse and stringify.

    Takes dict (with str keys), list, tuple, str, int, float, bool, None and bytes (written as base64).
    Integral numbers beyond 2^53-1 become strings, NaN and infinities null, lone surrogates U+FFFD.

    Raises TypeError for another type and ValueError when the nesting is deeper than Python can follow.
    """
    if not isinstance(value, dict | list):
        return _encode_carefully(value)
    try:
        quick = _encode_quickly(value)
    except UnicodeEncodeError:
        return _encode_carefully(value)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if any(pattern.search(quick) for pattern in _MAYBE_NOT_CANONICAL):
        return _encode_carefully(value)
    return quick


def parse(body: bytes) -> object:
    """What JSON `body` means, read as JavaScript reads it: a repeated key keeps its first place, last value.

    `encode(parse(body)) == body` for every body that `encode` wrote.

    Raises ValueError when `body` is not UTF-8, not JSON (NaN and Infinity are not) or nested too deeply.
    """
    try:
        return _decode(body.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def well_formed(text: str) -> str:
    """`text` with surrogate pairs joined and every lone surrogate replaced by U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _encode_carefully(value: object) -> bytes:
    try:
        return _value(value).encode("utf-8")
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _value(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return encode_basestring(well_formed(value))
        case int():
            return _integer(value)
        case float():
            return _number(value)
        case dict():
            return _object(value)
        case list() | tuple():
            return "[" + ",".join([_value(item) for item in value]) + "]"
        case bytes() | bytearray() | memoryview():
            return '"' + base64.b64encode(value).decode("ascii") + '"'
        case _:
            raise TypeError(f"cannot write {type(value).__name__} as JSON")


def _object(value: dict[object, object]) -> str:
    members: dict[str, object] = {}
    for key, member in value.items():
        if not isinstance(key, str):
            raise TypeError(f"a key must be str, not {type(key).__name__}")
        members[well_formed(key)] = member
    indices = sorted((key for key in members if _is_array_index(key)), key=int)
    if indices:
        # JavaScript lists array indices first, in numeric order, then the rest as they came.
        members = {key: members[key] for key in indices} | members
    return "{" + ",".join([f"{encode_basestring(key)}:{_value(members[key])}" for key in members]) + "}"


def _is_array_index(key: str) -> bool:
    return _ARRAY_INDEX.fullmatch(key) is not None and int(key) <= _MAX_ARRAY_INDEX


def _integer(value: int) -> str:
    # int.__repr__, because an IntEnum's own would print its name.
    digits = int.__repr__(value)
    return digits if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER else f'"{digits}"'


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "null"
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    text = sign + _decimal(*_digits(abs(value)))
    too_long = abs(value) > MAX_SAFE_INTEGER and text.lstrip("-").isdigit()
    return f'"{text}"' if too_long else text


def _digits(value: float) -> tuple[str, int]:
    """The shortest digits that name `value`, and n so that the value is 0.digits times 10^n."""
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    return digits.rstrip("0"), point


def _decimal(digits: str, point: int) -> str:
    """ECMA-262 `Number::toString`, radix 10, steps 6 to 11."""
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    head, tail = digits[0], digits[1:]
    return f"{head}.{tail}e{point - 1:+d}" if tail else f"{head}e{point - 1:+d}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Made once: `json.loads` makes a decoder for every call that refuses constants.
_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
