"""How received files are shown to the world: the links in webhooks and the headers of their answers."""

import re
from urllib.parse import quote

from appliance.gateway.media_types import OCTETS, ending, is_mimetype
from appliance.gateway.signing import sign_link, verify_link
from appliance.model.errors import NotFound
from appliance.model.media import MediaFile

LINK_LIFE_S = 8 * 24 * 3600
_DIGITS = re.compile(r"[0-9]{1,12}\Z")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069/\\]")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._ -]")


class MediaLinks:
    """Makes and checks signed links. `base_url` is scheme and host, without a slash at its end."""

    def __init__(self, key: bytes, base_url: str) -> None:
        self._key = key
        self._base_url = base_url.rstrip("/")

    def link(self, media_id: str, expires_at_s: int) -> str:
        """The absolute URL that opens the file until then (epoch seconds)."""
        signature = sign_link(self._key, media_id, expires_at_s)
        return f"{self._base_url}/api/media/{media_id}?expires={expires_at_s}&signature={signature}"

    def check(self, media_id: str, expires: str, signature: str, now_s: float) -> None:
        """Raises NotFound unless the link is one of ours and still holds."""
        genuine = bool(_DIGITS.match(expires)) and verify_link(
            self._key, media_id, int(expires), signature, now_s
        )
        if not genuine:
            raise NotFound(
                "This link has expired or was changed. GET /api/messages/{id}/media needs no link."
            )


def clean_filename(name: str | None) -> str | None:
    """The last part of a path, without what could mislead a reader or a disk; None when nothing is left."""
    if not name:
        return None
    last = _UNSAFE.sub("", re.split(r"[/\\]", name)[-1].encode("utf-8", "ignore").decode()).strip()
    if last.strip(".") == "":
        return None
    stem, dot, suffix = last.rpartition(".")
    if len(last) <= 200:
        return last
    return stem[:180] + dot + suffix if stem and len(suffix) < 20 else last[:200]


def headers(file: MediaFile) -> dict[str, str]:
    """Of an answer with the file: it is saved and never run, whatever its sender says that it is."""
    name = clean_filename(file.filename) or file.id + ending(file.mimetype)
    plain = _NOT_PLAIN.sub("_", name)
    return {
        "Content-Type": file.mimetype if is_mimetype(file.mimetype) else OCTETS,
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, max-age=3600",
        "Accept-Ranges": "bytes",
    }
