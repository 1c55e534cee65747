"""Texts, templates and vendored files: the languages say the same things, nothing was changed on the way."""

import hashlib
import re
import string
import tomllib
from pathlib import Path

import pytest

from appliance.assets import LANGUAGES, Assets, AssetsMissing, find_web, preferred_language
from appliance.dashboard import door

WEB = find_web()
_KEY = re.compile(r"""["']([a-z_]+\.[a-zA-Z_]+)["']""")


def catalogue(language: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in (WEB / "locales" / language).glob("*.toml"):
        for table, texts in tomllib.loads(file.read_text("utf-8")).items():
            keys = {f"{table}.{key}": text for key, text in texts.items()}
            assert not keys.keys() & found.keys(), f"{file.name} repeats {table}"
            found |= keys
    return found


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_every_language_has_the_same_keys_and_placeholders(language: str) -> None:
    english, other = catalogue("en"), catalogue(language)
    assert other.keys() == english.keys()
    for key, text in english.items():
        assert placeholders(other[key]) == placeholders(text), key


def test_every_text_that_is_asked_for_exists() -> None:
    known = catalogue("en")
    tables = {key.partition(".")[0] for key in known}
    files = [*(WEB / "templates").glob("*.html"), *Path(door.__file__).parent.glob("*.py")]
    named = {key for file in files for key in _KEY.findall(file.read_text("utf-8"))}
    asked = {
        key
        for key in named
        if key.partition(".")[0] in tables and not key.endswith((".html", ".css", ".js", "_"))
    }
    assert len(asked) > 100
    assert asked - known.keys() == set()


def test_every_template_compiles() -> None:
    assets = Assets()
    for path in (WEB / "templates").glob("*.html"):
        assets._templates.get_template(path.name)


@pytest.mark.parametrize("is_running", [True, False])
def test_a_backup_that_is_being_made_is_looked_at_every_second(is_running: bool) -> None:
    html = Assets().render("_system_backups.html", "en", backups=[], is_running=is_running, failed=False)
    assert ('hx-trigger="every 1s"' in html) == is_running


def test_vendored_files_are_the_published_ones() -> None:
    listed = (WEB / "static" / "VERSIONS.txt").read_text().splitlines()[1:]
    for name, version, licence, digest, file in (line.split() for line in listed):
        assert name
        assert version
        assert licence
        assert hashlib.sha256((WEB / "static" / file).read_bytes()).hexdigest() == digest
    assert {line.split()[-1] for line in listed} >= {path.name for path in (WEB / "static").glob("*.min.*")}


def test_a_folder_without_the_files_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssetsMissing):
        Assets(tmp_path)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("id", "id"),
        ("ID-id,id;q=0.9,en;q=0.8", "id"),
        ("en,id", "en"),
        ("id;q=0.2,en;q=0.3", "en"),
        ("de-DE,fr;q=0.5", "en"),
        ("id;q=abc,en;q=0", "id"),
        ("*", "en"),
    ],
)
def test_accept_language(header: str, language: str) -> None:
    assert preferred_language(header) == language
