"""What people see, as files: finds `web/`, its static files, its texts in each language, its templates."""

import hashlib
import mimetypes
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import msgspec

from appliance.model.told import Told

LANGUAGES = {"en": "English", "id": "Bahasa Indonesia"}
DEFAULT_LANGUAGE = "en"
THEME_COOKIE = "theme"
STATIC_PATH = "/dashboard/static/"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class AssetsMissing(Told):
    """The folder `web` stands in none of the places where an installation puts it."""


class StaticFile(msgspec.Struct, frozen=True):
    """A file that browsers may keep: its path here, its media type, and a digest that changes with it."""

    path: Path
    media_type: str
    digest: str


class Assets:
    """The files below `folder` (default: wherever this installation has them). Raises AssetsMissing."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or find_web()
        self._static = {name: _described(path) for name, path in _files(self.folder / "static")}
        self._texts = {language: _texts(self.folder, language) for language in LANGUAGES}
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(self.folder / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["utc"] = utc

    def static(self, name: str) -> StaticFile | None:
        """The static file of that name; only names found at the start exist, so no path leads elsewhere."""
        return self._static.get(name)

    def url(self, name: str) -> str:
        """Where a page finds the static file; the address changes with the file's content."""
        return f"{STATIC_PATH}{name}?v={self._static[name].digest}"

    def text(self, language: str, key: str, **values: object) -> str:
        """The text under `key` with its `{placeholders}` filled. Raises KeyError for an unknown key."""
        text = self._texts[language].get(key) or self._texts[DEFAULT_LANGUAGE][key]
        return text.format(**values) if values else text

    def has_text(self, key: str) -> bool:
        return key in self._texts[DEFAULT_LANGUAGE]

    def translator(self, language: str) -> Callable[..., str]:
        """`text` for one language: what templates know as `t`."""

        def t(key: str, **values: object) -> str:
            return self.text(language, key, **values)

        return t

    def render(self, template: str, language: str, **values: Any) -> str:
        """The template as HTML. It knows `t`, `lang`, `languages`, `static`, `has_text` besides `values`."""
        return self._templates.get_template(template).render(
            t=self.translator(language),
            lang=language,
            languages=LANGUAGES,
            static=self.url,
            has_text=self.has_text,
            **values,
        )


def find_web() -> Path:
    """The folder `web` of a frozen bundle, a checkout or an installed tree. Raises AssetsMissing."""
    bundle = getattr(sys, "_MEIPASS", None)
    places = [
        *([Path(bundle) / "web"] if bundle else []),
        Path(__file__).resolve().parent.parent / "web",
        Path(sysconfig.get_path("data")) / "share" / "wa-gateway" / "web",
    ]
    for place in places:
        if (place / "templates").is_dir():
            return place
    raise AssetsMissing("The folder web is missing: " + ", ".join(str(place) for place in places))


def utc(at_ms: int) -> str:
    """A time for people, until the page's script puts it into the browser's own time zone."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def preferred_language(accept: str) -> str:
    """The best of our languages for an Accept-Language header."""
    ranked: list[tuple[float, str]] = []
    for part in accept.split(","):
        tag, _, quality = part.strip().partition(";q=")
        language = tag.split("-")[0].lower()
        if language in LANGUAGES:
            ranked.append((_quality(quality), language))
    # max keeps the first of equals: the browser's own order.
    return max(ranked, key=lambda entry: entry[0])[1] if ranked else DEFAULT_LANGUAGE


def _quality(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0


def _texts(folder: Path, language: str) -> dict[str, str]:
    catalogue: dict[str, str] = {}
    for file in sorted((folder / "locales" / language).glob("*.toml")):
        for table, texts in tomllib.loads(file.read_text("utf-8")).items():
            catalogue |= {f"{table}.{key}": text for key, text in texts.items()}
    if not catalogue:
        raise AssetsMissing(f"The texts for {language!r} are missing below {folder}.")
    return catalogue


def _files(folder: Path) -> list[tuple[str, Path]]:
    return [(path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file()]


def _described(path: Path) -> StaticFile:
    guessed = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return StaticFile(path, _TYPES.get(path.suffix, guessed), digest)
