"""The documents as they are served: pages for people in both languages, and files for programs."""

import re
from collections.abc import Callable

import httpx
import msgspec
import pytest
from description import DOCS, SPEC
from running import Account, Running

from appliance import __version__
from appliance.api import problems
from appliance.api.docs_pages import ADDRESS, NAMES, Manual
from appliance.config import Config

LANGUAGES = ("en", "id")
PAGES = ["/docs", "/docs/errors", *(f"/docs/{name}" for name in NAMES if name not in {"index", "errors"})]
LINK = re.compile(r'(?:href|src)="([^"]+)"')


def get(gateway: Running, path: str, **headers: str) -> httpx.Response:
    return httpx.get(gateway.url + path, headers=headers)


@pytest.mark.parametrize("path", [*PAGES, "/docs/errors/rate_limited", "/api/docs"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_is_there_in_both_languages(shared: Running, path: str, language: str) -> None:
    answer = get(shared, path, **{"Accept-Language": language})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert f'<html lang="{language}">' in answer.text


@pytest.mark.parametrize("path", [*PAGES, "/docs/errors/rate_limited", "/docs/nothing", "/api/docs"])
def test_a_page_runs_nothing_but_our_own_files(shared: Running, path: str) -> None:
    answer = get(shared, path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", answer.text)
    sources = re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="([^"]+)"', answer.text)
    assert sources
    assert all(source.startswith("/") and not source.startswith("//") for source in sources)


def test_the_pages_are_there_before_any_account(start: Callable[..., Running]) -> None:
    gateway = start()
    for path in ("/docs", "/api/docs", "/api/openapi.json", "/llms.txt", "/llms-full.txt"):
        answer = get(gateway, path)
        assert answer.status_code == 200
        assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_link_of_the_pages_leads_somewhere(shared: Running, language: str) -> None:
    found: dict[str, str] = {}
    with httpx.Client(base_url=shared.url, headers={"Accept-Language": language}) as client:
        for path in [*PAGES, "/docs/errors/device_banned", "/api/docs"]:
            found |= {link: path for link in LINK.findall(client.get(path).text) if link.startswith("/")}
        broken = {link: page for link, page in found.items() if client.get(link).status_code >= 400}
    assert len(found) > 60
    assert not broken


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_anchor_of_the_contents_is_there(shared: Running, language: str) -> None:
    text = get(shared, "/docs", **{"Accept-Language": language}).text
    anchors = re.findall(r'href="#([^"]+)"', text)
    assert len(anchors) > 5
    assert all(f'id="{anchor}"' in text for anchor in anchors)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_has_its_page_and_every_page_its_code(language: str) -> None:
    pages = Manual(DOCS).errors(language)
    assert sorted(page.code for page in pages) == sorted(problems.codes())
    assert [page.status for page in pages] == sorted(page.status for page in pages)
    assert all(page.body.count("<strong>") == 2 for page in pages), "say why, and what to do"


@pytest.mark.parametrize("name", [name for name in NAMES if (DOCS / "en" / f"{name}.md").exists()])
def test_both_languages_say_the_same(name: str) -> None:
    """As far as a program can tell: the same headings, the same code, the same links."""
    english, indonesian = ((DOCS / language / f"{name}.md").read_text("utf-8") for language in LANGUAGES)
    for shape in (r"^#+ ", r"^```\w*", r"^```samples\n(.*)", r"\]\((/[^)]*)\)"):
        assert re.findall(shape, english, re.M) == re.findall(shape, indonesian, re.M)


def test_a_refusal_leads_to_the_page_about_it(shared: Running) -> None:
    problem = get(shared, "/api/auth/me").json()
    assert problem["type"] == f"{shared.url}/docs/errors/missing_api_key"
    assert "missing_api_key" in httpx.get(problem["type"]).text


def test_a_page_that_is_not_there_says_so_as_a_page(shared: Running) -> None:
    for path in ("/docs/nothing", "/docs/nothing.md", "/docs/errors/nothing", "/docs/index"):
        answer = get(shared, path)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        assert "/llms.txt" in answer.headers["link"]


def test_the_switch_keeps_the_language(shared: Running) -> None:
    with httpx.Client(base_url=shared.url) as client:
        assert '<html lang="id">' in client.get("/docs?lang=id").text
        assert '<html lang="id">' in client.get("/docs/webhooks", headers={"Accept-Language": "en"}).text
        assert '<html lang="en">' in client.get("/docs?lang=en").text


def test_the_documents_name_the_address_they_were_asked_at(shared: Running) -> None:
    for path in (
        "/docs/quickstart",
        "/docs/quickstart.md",
        "/api/openapi.json",
        "/llms.txt",
        "/llms-full.txt",
    ):
        text = get(shared, path).text
        assert shared.url in text
        assert ADDRESS not in text


def test_a_host_header_cannot_write_into_a_page(shared: Running) -> None:
    host = "a'&lt;b"
    assert "API=http://a&#x27;&amp;lt;b/api" in get(shared, "/docs/quickstart", Host=host).text
    assert get(shared, "/api/openapi.json", Host=host).json()["openapi"] == "3.1.0"
    # What could end an attribute or a JSON string is no host at all.
    for host in ('a"b', "a<b", "a>b", "a\\b"):
        assert not get(shared, "/docs/quickstart", Host=host).headers["content-type"].startswith("text/html")


def test_the_documents_name_the_public_address(start: Callable[..., Running]) -> None:
    gateway = start(settings={"server.public_url": "https://wa.example.net/"})
    for path in ("/docs/quickstart", "/llms.txt", "/llms-full.txt", "/api/openapi.json"):
        text = get(gateway, path).text
        assert "https://wa.example.net/" in text
        assert gateway.url not in text


def test_the_description_is_served_as_it_was_written(shared: Running) -> None:
    answer = get(shared, "/api/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.text.replace(shared.url, ADDRESS) == (DOCS / "openapi.json").read_text("utf-8")


def test_the_index_for_agents_has_the_shape_of_llmstxt_org(shared: Running) -> None:
    """A title, a summary, text without headings, then sections that are lists of links."""
    text = get(shared, "/llms.txt").text
    title, summary, rest = text.split("\n\n", 2)
    assert re.fullmatch(r"# [^\n]+", title)
    assert re.fullmatch(r"> [^\n]+", summary)
    prose, *sections = rest.split("\n## ")
    assert not re.search(r"^#", prose, re.M)
    assert len(sections) >= 3
    for each in sections:
        lines = [line for line in each.split("\n")[1:] if line]
        assert lines
        assert all(re.fullmatch(r"- \[[^]]+\]\(https?://[^)]+\)(: .+)?", line) for line in lines)


def test_the_index_for_agents_says_what_is_needed_first(shared: Running) -> None:
    text = get(shared, "/llms.txt").text
    assert f"Base URL: {shared.url}/api" in text
    assert "`X-API-Key: " in text
    assert __version__ in text
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert httpx.get(link).status_code == 200, link


def test_an_index_for_agents_names_only_routes_that_exist(shared: Running) -> None:
    named = re.findall(r"`(GET|POST|PATCH|DELETE) (/[^`?]*)[^`]*`", get(shared, "/llms.txt").text)
    assert len(named) >= 8
    for method, path in named:
        assert method.lower() in SPEC["paths"][path], path


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_guides_name_only_routes_that_exist(language: str) -> None:
    manual = Manual(DOCS)
    text = "\n".join(manual.source(language, name) for name in NAMES)
    named = re.findall(r"`(GET|POST|PATCH|DELETE) (?:/api)?(/[^`? ]*)[^`]*`", text)
    assert len(named) > 30
    for method, path in named:
        assert method.lower() in SPEC["paths"][re.sub(r"<[a-z]+>", "{id}", path)], path


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_guides_name_only_settings_that_exist(language: str) -> None:
    manual = Manual(DOCS)
    text = "\n".join([*(manual.source(language, name) for name in NAMES), manual.spec])
    sections = {field.name: field.type for field in msgspec.structs.fields(Config)}
    named = re.findall(rf"`({'|'.join(sections)})\.([a-z_]+)[` ]", text)
    assert len(named) > 10
    for section, key in named:
        names = sections[section].__struct_fields__
        assert key in names or key.removesuffix("_file") in names, f"{section}.{key}"


def test_one_file_holds_everything(shared: Running) -> None:
    text = get(shared, "/llms-full.txt").text
    for path, item in SPEC["paths"].items():
        for method in item.keys() & {"get", "post", "patch", "delete"}:
            assert f"\n### {method.upper()} {path}\n" in text
    for name in SPEC["components"]["schemas"]:
        assert f"\n#### {name}\n" in text
    for code in problems.codes():
        assert f"\n### {code}\n" in text
    assert len(re.findall(r"^# ", re.sub(r"```.*?```", "", text, flags=re.S), re.M)) == 1


def test_a_guide_is_there_as_markdown_too(shared: Running) -> None:
    answer = get(shared, "/docs/webhooks.md")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.text.startswith("# Webhooks\n")


def test_the_index_of_the_api_leads_to_the_documents(account: Account) -> None:
    index = account.ok("GET", "/api")
    for name in ("docs", "swagger", "openapi", "llms", "health"):
        assert httpx.get(index[name]).status_code == 200
