"""WhatsApp's protobuf as WhatsApp-Web JSON: the names against Baileys' own definitions."""

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.engine.worker.content import EXCEPTIONS, as_json, name_of
from appliance.engine.worker.protos import E2E

BAILEYS = "baileys@7.0.0-rc14"
_BLOCK = re.compile(r"(message|enum|oneof) (\w+) \{")
_FIELD = re.compile(r"(?:optional |repeated |required )?([\w.]+) (\w+) = (\d+)")

Messages = dict[str, dict[int, tuple[str, str]]]


@pytest.fixture(scope="module")
def baileys() -> Messages:
    """Baileys' message definitions by dotted name: field number → (field name, type)."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "wa-gateway-tests"
    definitions = cache / f"{BAILEYS}.proto"
    if not definitions.exists():
        cache.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", "--silent", BAILEYS], cwd=cache, capture_output=True, text=True, check=False
        )
        if packed.returncode:
            pytest.skip("the package cannot be had")
        with tarfile.open(cache / packed.stdout.split()[-1]) as archive:
            member = archive.extractfile("package/WAProto/WAProto.proto")
            assert member is not None
            definitions.write_bytes(member.read())
    return _parsed(definitions.read_text())


def _parsed(text: str) -> Messages:
    messages: Messages = {}
    blocks: list[tuple[str, str]] = []
    for line in map(str.strip, text.splitlines()):
        if found := _BLOCK.match(line):
            blocks.append((found[1], found[2]))
            if found[1] == "message":
                messages[_path(blocks)] = {}
        elif line == "}":
            blocks.pop()
        elif blocks and blocks[-1][0] != "enum" and (found := _FIELD.match(line)):
            messages[_path(blocks)][int(found[3])] = (found[2], found[1])
    return messages


def _path(blocks: list[tuple[str, str]]) -> str:
    return ".".join(name for kind, name in blocks if kind == "message")


def _differences(theirs: Messages) -> Iterator[tuple[str, str, str]]:
    """Walks both definitions in parallel from Message, by field number: (place, our name, their name)."""
    seen = set()
    todo: list[tuple[Any, str]] = [(E2E.Message.DESCRIPTOR, "Message")]
    while todo:
        descriptor, path = todo.pop()
        if descriptor.full_name in seen:
            continue
        seen.add(descriptor.full_name)
        for field in descriptor.fields:
            name, type_ = theirs[path].get(field.number, (None, ""))
            if name is None:
                continue
            yield f"{path}.{field.name}", name_of(field.name), name
            if field.message_type is not None and (inner := _resolved(theirs, path, type_)):
                todo.append((field.message_type, inner))


def _resolved(theirs: Messages, scope: str, type_: str) -> str | None:
    parts = scope.split(".")
    paths = (".".join([*parts[:depth], type_]) for depth in range(len(parts), -1, -1))
    return next((path for path in paths if path in theirs), None)


def test_every_field_is_named_as_whatsapp_web_clients_name_it(baileys: Messages) -> None:
    compared = list(_differences(baileys))
    assert len(compared) > 1000
    assert [found for found in compared if found[1] != found[2]] == []


def test_every_exception_is_needed(baileys: Messages) -> None:
    theirs = {place.rpartition(".")[2]: name for place, _, name in _differences(baileys)}
    assert {field: theirs[field] for field in EXCEPTIONS} == EXCEPTIONS


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("URL", "url"),
        ("fileSHA256", "fileSha256"),
        ("fileEncSHA256", "fileEncSha256"),
        ("JPEGThumbnail", "jpegThumbnail"),
        ("stanzaID", "stanzaId"),
        ("mentionedJID", "mentionedJid"),
        ("PTT", "ptt"),
        ("directPath", "directPath"),
        ("senderTimestampMS", "senderTimestampMs"),
        ("imageURLs", "imageUrls"),
    ],
)
def test_names(field: str, name: str) -> None:
    assert name_of(field) == name


def test_values() -> None:
    message = E2E.Message(
        imageMessage={
            "fileLength": 2**60,
            "mediaKey": b"\x00\xff",
            "height": 7,
            "viewOnce": False,
            "contextInfo": {"mentionedJID": ["1@lid", "2@lid"], "isForwarded": True},
        },
        protocolMessage={"type": E2E.ProtocolMessage.REVOKE, "key": {"ID": "A"}},
        locationMessage={"degreesLatitude": float("inf"), "degreesLongitude": 1.5},
    )
    content = as_json(message)
    assert content["imageMessage"] == {
        "fileLength": str(2**60),
        "height": 7,
        "mediaKey": "AP8=",
        "contextInfo": {"mentionedJid": ["1@lid", "2@lid"], "isForwarded": True},
        "viewOnce": False,
    }
    assert content["protocolMessage"] == {"key": {"id": "A"}, "type": "REVOKE"}
    assert content["locationMessage"] == {"degreesLatitude": "Infinity", "degreesLongitude": 1.5}
