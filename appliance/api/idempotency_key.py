"""`Idempotency-Key`: reading it, and the fingerprint that tells a repeat from another request."""

import hashlib
import re
from typing import Any

import msgspec
from litestar import Request

from appliance.api.frame import header
from appliance.model.errors import Invalid

_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")
_NOT_CONTENT = {"dry_run"}


def key_of(request: Request[Any, Any, Any]) -> str | None:
    """The caller's key, None when there is none. Raises Invalid when it is not 1–255 visible ASCII
    characters."""
    key = header(request, "idempotency-key")
    if not key:
        return None
    if not _KEY.match(key):
        raise Invalid("1 to 255 visible ASCII characters, no blanks.", field="Idempotency-Key")
    return key


def fingerprint(route: str, fields: msgspec.Struct, *files: str | None) -> bytes:
    """SHA-256 over the canonical route, the decoded fields and the hashes of files, so that neither blanks
    in the JSON, nor the mount point, nor multipart boundaries make a repeat look different."""
    content = {name: getattr(fields, name) for name in fields.__struct_fields__ if name not in _NOT_CONTENT}
    return hashlib.sha256(msgspec.json.encode([route, content, files], order="sorted")).digest()
