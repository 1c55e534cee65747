"""The table of the library's error texts, row by row."""

import pytest

from appliance.engine.worker.errors import TABLE, Meaning, engine_error, without_numbers

REAL = {
    r"no LID found for .* from server": "no LID found for 628111222333@s.whatsapp.net from server",
    r"server returned error 463\b": "server returned error 463",
    r"you're not participating in that group": (
        "failed to get group members: you're not participating in that group"
    ),
    r"that group does not exist": "failed to get group members: that group does not exist",
    r"websocket disconnected before message send": (
        "websocket disconnected before message send returned response"
    ),
    r"timed out waiting for message send response": "timed out waiting for message send response",
    r"websocket disconnected before info query": "websocket disconnected before info query returned response",
    r"websocket not connected": "failed to send message node: websocket not connected",
    r"frame socket is closed": "frame socket is closed",
    r"client is nil": "client is nil",
    r"info query timed out": "failed to get device list: info query timed out",
    r"the store doesn't contain a device JID": "the store doesn't contain a device JID",
    r"can't send message to unknown server": "can't send message to unknown server example.org",
    r"sending to non-status broadcast lists": "sending to non-status broadcast lists is not yet supported",
    r"message recipient must be a user JID": "message recipient must be a user JID with no device part",
    r"phone number too short": "phone number too short",
    r"international phone number required": "international phone number required (must not start with 0)",
    r"download failed with status code (403|404|410)": "download failed with status code 404",
    r"hash of (media|unencrypted media)": "hash of media ciphertext doesn't match",
    r"invalid media hmac": "invalid media hmac",
    r"file too short": "file too short",
    r"no url present": "no url present",
    r"didn't find any attachments": "didn't find any attachments in message",
}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.pattern)
def test_each_row_is_met_by_what_the_library_says(row: Meaning) -> None:
    error = engine_error(REAL[row.pattern])
    assert (error.code, error.retryable, error.unknown_outcome) == (
        row.code,
        row.retryable,
        row.unknown_outcome,
    )


def test_no_row_is_both_retryable_and_unknown() -> None:
    assert not [row for row in TABLE if row.retryable and row.unknown_outcome]


def test_unknown_texts_are_kept() -> None:
    error = engine_error("server returned error 4630: nobody knows")
    assert (error.code, error.text) == ("engine_error", "server returned error 4630: nobody knows")


def test_numbers_are_cut() -> None:
    text = without_numbers("no LID found for 628111222333:12@s.whatsapp.net, 1234, 12345")
    assert text == "no LID found for …2333:12@s.whatsapp.net, 1234, …2345"
