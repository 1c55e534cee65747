"""What the library's error texts mean: the one table. Texts are all it gives (whatsmeow/errors.go, send.go,
upload.go); the first row that matches counts, an unknown text is `engine_error` with the text kept."""

import re

import msgspec

from appliance.engine.base import EngineError


class Meaning(msgspec.Struct, frozen=True):
    """A pattern in the library's text, and the EngineError's members for it."""

    pattern: str
    code: str
    retryable: bool = False
    unknown_outcome: bool = False


TABLE = (
    Meaning(r"no LID found for .* from server", "not_on_whatsapp"),
    Meaning(r"server returned error 463\b", "reachout_restricted"),
    Meaning(r"you're not participating in that group", "not_in_group"),
    Meaning(r"that group does not exist", "not_in_group"),
    Meaning(r"websocket disconnected before message send", "engine_error", unknown_outcome=True),
    Meaning(r"timed out waiting for message send response", "engine_timeout", unknown_outcome=True),
    Meaning(r"websocket disconnected before info query", "not_connected", retryable=True),
    Meaning(r"websocket not connected", "not_connected", retryable=True),
    Meaning(r"frame socket is closed", "not_connected", retryable=True),
    Meaning(r"client is nil", "not_connected", retryable=True),
    Meaning(r"info query timed out", "engine_timeout", retryable=True),
    Meaning(r"the store doesn't contain a device JID", "device_not_linked"),
    Meaning(r"can't send message to unknown server", "invalid_recipient"),
    Meaning(r"sending to non-status broadcast lists", "invalid_recipient"),
    Meaning(r"message recipient must be a user JID", "invalid_recipient"),
    Meaning(r"phone number too short", "invalid_recipient"),
    Meaning(r"international phone number required", "invalid_recipient"),
    Meaning(r"download failed with status code (403|404|410)", "media_unavailable"),
    Meaning(r"hash of (media|unencrypted media)", "media_unavailable"),
    Meaning(r"invalid media hmac", "media_unavailable"),
    Meaning(r"file too short", "media_unavailable"),
    Meaning(r"no url present", "media_unavailable"),
    Meaning(r"didn't find any attachments", "media_unavailable"),
)
_COMPILED = tuple((re.compile(meaning.pattern), meaning) for meaning in TABLE)
_NUMBER = re.compile(r"\d+(?=\d{4}(?!\d))")


def engine_error(text: str) -> EngineError:
    """The EngineError that the library's `text` stands for; numbers in the text are cut to four digits."""
    shown = without_numbers(text)
    for pattern, meaning in _COMPILED:
        if pattern.search(text):
            return EngineError(
                meaning.code,
                shown,
                retryable=meaning.retryable,
                unknown_outcome=meaning.unknown_outcome,
            )
    return EngineError("engine_error", shown)


def without_numbers(text: str) -> str:
    """The text with every number of more than four digits cut to its last four."""
    return _NUMBER.sub("…", text)
